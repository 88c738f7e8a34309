/**
 * Group commit: how a change becomes true.
 *
 *   mutate ──▶ working copy changed, undoable ──flush──▶ SQLite commit ──▶ published in the segment ──▶
 *   effects, replies
 *                     └── the operation throws: undone, nobody saw it
 *
 * All mutations of one turn of the event loop share one SQLite transaction, whoever asked for them. Nothing
 * is answered, pushed or punched before that transaction is committed and published; when it fails, every
 * mutation in it fails and is undone.
 * Order: commit, then publish, then effects (punch, remap events), then replies, when other nodes see it too.
 */
import { FsError } from '@cluster-fs/transport';
import {
  InodeCopy,
  isFile,
  isSymlink,
  readExtents,
  readInode,
  readText,
  type Segment,
  type SegmentWriter,
} from 'cluster-fs/segment';
import type { Change, InodeRow, MetadataStore } from '../metadata/store.ts';
import { hasOnlyMoved } from './only-moved.ts';

interface Pending {
  resolve(): void;
  reject(error: Error): void;
}

export class Journal {
  readonly writer: SegmentWriter;
  readonly published: Segment;
  readonly #store: MetadataStore;
  readonly #onError: (error: unknown) => void;
  #changes: Change[] = [];
  #effects: (() => void)[] = [];
  #pending: Pending[] = [];
  #scheduled = false;
  #commits = 0;
  #closed = false;
  /**
   * Told of each commit when it is published here, but not of where pages lie now; what it returns is when
   * others see it too, and until then nobody is answered.
   */
  replicate: ((changes: readonly Change[]) => Promise<void> | undefined) | undefined;
  /** Called when a commit is published here, in the same turn. */
  onPublished: (() => void) | undefined;
  readonly #flushWaiters: (() => void)[] = [];

  constructor(
    { writer, published, store }: { writer: SegmentWriter; published: Segment; store: MetadataStore },
    onError: (error: unknown) => void,
  ) {
    this.#onError = onError;
    this.writer = writer;
    this.published = published;
    this.#store = store;
  }

  /** Transactions committed so far. */
  get commits(): number {
    return this.#commits;
  }

  /**
   * Runs `operation` on the working copy now; resolves with its result when that is committed and published.
   * `operation` may call `change` and `afterCommit`; what it throws undoes all it did and rejects.
   */
  mutate<T>(operation: () => T): Promise<T> {
    const savepoint = this.writer.savepoint();
    const changes = this.#changes.length;
    const effects = this.#effects.length;
    let result: T;
    try {
      result = operation();
    } catch (error) {
      this.writer.rollback(savepoint);
      this.#changes.length = changes;
      this.#effects.length = effects;
      return Promise.reject(error as Error);
    }
    this.schedule();
    return new Promise<T>((resolve, reject) => {
      this.#pending.push({ resolve: () => resolve(result), reject });
    });
  }

  /** Records a change that is not an inode: those are found by what the writer touched. */
  change(change: Change): void {
    this.#changes.push(change);
  }

  /** Runs `effect` when what is being mutated is published. */
  afterCommit(effect: () => void): void {
    this.#effects.push(effect);
  }

  /** Sees to it that what the working copy holds is published in this turn. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.flush();
      for (const wake of this.#flushWaiters.splice(0)) wake();
    });
  }

  /** Resolves after the commit that is on its way; undefined when none is. */
  nextFlush(): Promise<void> | undefined {
    return this.#scheduled ? new Promise((resolve) => this.#flushWaiters.push(resolve)) : undefined;
  }

  /** Commits and publishes the last, and nothing after it: the memory of the segment goes next. */
  close(): void {
    this.flush();
    this.#closed = true;
  }

  /** Commits and publishes everything so far. */
  flush(): void {
    if (this.#closed) return;
    const pending = this.#pending;
    const effects = this.#effects;
    const changes = this.#changes;
    this.#addTouchedInodes(changes);
    this.#pending = [];
    this.#effects = [];
    this.#changes = [];
    try {
      if (changes.length > 0) {
        this.#store.commit(changes);
        this.#commits++;
      }
    } catch (error) {
      this.writer.rollback(0);
      this.writer.forget();
      const reason = commitError(error);
      for (const { reject } of pending) reject(reason);
      return;
    }
    const isTold = (change: Change): boolean => !hasOnlyMoved(this.published, change);
    const told = this.replicate === undefined ? [] : changes.filter(isTold);
    this.writer.publish(this.published);
    this.onPublished?.();
    const everywhere = told.length > 0 ? this.#replicated(told) : undefined;
    for (const effect of effects) this.#run(effect);
    const answer = (): void => {
      for (const { resolve } of pending) resolve();
    };
    if (everywhere === undefined) answer();
    else
      everywhere.then(answer, (error: Error) => {
        // It is committed here, and who asked cannot be told that it is everywhere.
        for (const { reject } of pending) reject(error);
      });
  }

  /** It is committed, whatever others hear of it: who asked must not take it for undone. */
  #replicated(changes: readonly Change[]): Promise<void> | undefined {
    try {
      return this.replicate?.(changes);
    } catch (error) {
      this.#onError(error);
      return undefined;
    }
  }

  /** What happens after a commit cannot undo it: a failure is told, and what others wait for goes on. */
  #run(effect: () => void): void {
    try {
      effect();
    } catch (error) {
      this.#onError(error);
    }
  }

  #addTouchedInodes(changes: Change[]): void {
    const s = this.writer.segment;
    for (const ino of this.writer.touchedInodes) {
      const row = inodeRow(s, ino);
      changes.push(row === undefined ? { type: 'deleteInode', ino } : { type: 'putInode', row });
    }
  }
}

/** Whose path it is about, the caller knows; that of the database is nobody's concern. */
const commitError = (error: unknown): FsError =>
  error instanceof FsError
    ? new FsError(error.code, 'commit', { why: error.why, cause: error })
    : new FsError('EIO', 'commit', { cause: error });

/** The row of an inode as the segment has it; undefined when the slot is free. */
export function inodeRow(s: Segment, ino: number): InodeRow | undefined {
  const copy = new InodeCopy();
  if (!readInode(s, ino, copy)) return undefined;
  return {
    ino,
    generation: copy.generation,
    mode: copy.mode,
    uid: copy.uid,
    gid: copy.gid,
    nlink: copy.nlink,
    parent: copy.parent,
    size: copy.size,
    layoutVersion: copy.layoutVersion,
    atimeMs: copy.atimeMs,
    mtimeMs: copy.mtimeMs,
    ctimeMs: copy.ctimeMs,
    birthtimeMs: copy.birthtimeMs,
    target: isSymlink(copy.mode) ? readText(s, ino, copy) : undefined,
    extents: isFile(copy.mode) && copy.extentCount > 0 ? readExtents(s, ino, copy) : [],
    home: copy.home,
  };
}
