/**
 * Moving files between nodes, at the coordinator: who may, whether there is room, and what it says to whom.
 * How it leads them is told in coherence.md (`Leading`).
 */
import { FsError, type Reply, type Request } from '@cluster-fs/transport';
import { Leading, type LeadingWorld, type MovedFile } from 'cluster-fs/coherence';
import { InodeCopy, isFile, pageSize, readInode, walk } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { FileId } from '../coordinator/elsewhere.ts';
import type { MoveOptions } from '../coordinator/move.ts';
import { assertMayChange } from '../coordinator/open.ts';
import type { Session } from '../coordinator/session.ts';
import { coordinatorNumber, type Homes } from './homes.ts';
import type { FileMoves } from './moving.ts';
import { orAborted } from './or-aborted.ts';
import { beginStoring, endStoring } from './own-store.ts';
import type { Room, Roster } from './roster.ts';
import { assertTellable } from './rows.ts';

export interface MigrationParts {
  readonly c: Coordinator;
  readonly homes: Homes;
  readonly roster: Roster;
  readonly moving: FileMoves;
  /** What the coordinator itself is called, and how much it can keep. */
  readonly name: string;
  readonly room: Room;
}

interface Way {
  readonly from: number;
  readonly to: number;
}

export class Migration {
  readonly #parts: MigrationParts;
  readonly #leading: Leading;
  #isCommitting = false;

  constructor(parts: MigrationParts) {
    this.#parts = parts;
    this.#leading = new Leading(this.#world(), { firstMove: parts.c.epoch * 2 ** 20 + 1 });
  }

  /** Whether what is being committed just now says that a file has another home. */
  get isCommitting(): boolean {
    return this.#isCommitting;
  }

  /** No file gets another home from here on that is not given away yet. */
  stop(): void {
    this.#leading.stop();
  }

  /** Resolves when all nodes know what became of what was given away. Requires: `stop`. */
  settled(): Promise<void> {
    return this.#leading.settled();
  }

  /** Whether that move of a file is under way. */
  isMoving({ ino, move }: Pick<MovedFile, 'ino' | 'move'>): boolean {
    return this.#leading.isMoving(ino, move);
  }

  /** Resolves when the file is not being moved. */
  ended(ino: number): Promise<void> {
    return this.#leading.ended(ino);
  }

  /** Resolves when what is on its way to a node is there, or not after all; whether anything was. */
  endedTo(node: number): Promise<boolean> {
    return this.#leading.endedTo(node);
  }

  /** The number of the node of that name. */
  numberOf(name: string, syscall: string): number {
    const { roster, name: own } = this.#parts;
    return name === own ? coordinatorNumber : roster.find(name, syscall).number;
  }

  async migrate(
    session: Session,
    { path, to }: Request<'migrate'>,
    options: MoveOptions,
  ): Promise<Reply<'migrate'>> {
    const { c } = this.#parts;
    assertMayChange(session, 'move', path);
    const { credentials } = session;
    const { ino } = walk(c.segment, path, { follow: true, syscall: 'move', credentials });
    if (ino === 0) throw new FsError('ENOENT', 'move', { path });
    const { mode, uid, generation } = c.inode(ino);
    if (!isFile(mode)) throw new FsError('EINVAL', 'move', { path, why: 'not a regular file' });
    if (credentials.uid !== 0 && credentials.uid !== uid) throw new FsError('EPERM', 'move', { path });
    try {
      return await this.move({ ino, generation }, this.numberOf(to, 'move'), options);
    } catch (error) {
      if (!(error instanceof FsError) || error.path?.startsWith('/')) throw error;
      // Where a node that has gone meanwhile was reached says nothing of the file.
      const why = error.path === undefined ? error.why : `${error.path}: ${error.why}`;
      throw new FsError(error.code, 'move', { path, why, cause: error });
    }
  }

  /** Gives a file another home. It stays meanwhile, also when it loses its last name. */
  move(file: FileId, to: number, options: MoveOptions): Promise<Reply<'migrate'>> {
    return this.#parts.c.keeping(file.ino, () => this.#move(file, to, options));
  }

  async #move({ ino, generation }: FileId, to: number, options: MoveOptions): Promise<Reply<'migrate'>> {
    const { c, homes } = this.#parts;
    const started = performance.now();
    const from = homes.homeOf(ino);
    const { pages, generation: now } = c.inode(ino);
    if (now !== generation) throw new FsError('ESTALE', 'move', { why: `inode ${ino} is gone` });
    const bytes = pages * pageSize;
    if (from === to) return { bytes: 0, elapsedMs: 0, pausedMs: 0 };
    this.#assertCanBeTold(ino, to);
    this.#assertRoom(to, bytes);
    let paused = started;
    const fetched = () => {
      paused = performance.now();
    };
    try {
      await this.#leading.lead({ ino, generation }, { from, to }, { ...options, fetched });
    } catch (error) {
      throw error instanceof FsError && error.code === 'EAGAIN' ? isStopping(error) : error;
    }
    const ended = performance.now();
    return { bytes, elapsedMs: ended - started, pausedMs: ended - paused };
  }

  #world(): LeadingWorld {
    const { homes, moving } = this.#parts;
    return {
      take: async (file, { from, to }, signal) => {
        // A home that stands still may be what it waits for.
        if (to === coordinatorNumber) return orAborted(moving.take({ ...file, from }), signal);
        const link = await homes.neighbour(to).line.link();
        return (await link.request('take', { ...file, from }, { signal })).reply;
      },
      give: async (file, { from, to }, signal) => {
        if (from === coordinatorNumber) return moving.give({ ...file, to }, signal);
        const link = await homes.neighbour(from).line.link();
        await link.request('give', { ...file, to }, { signal });
      },
      commit: async (file, way) => {
        await this.#commit(file, way);
        await homes.openings.done;
      },
      moved: ({ ino }, { to }) => {
        if (to === coordinatorNumber) moving.areOpen(ino);
      },
      gave: (node, file) => {
        if (node === coordinatorNumber) moving.gave(file);
        else homes.neighbour(node).line.current?.event('gave', file);
      },
    };
  }

  #assertCanBeTold(ino: number, home: number): void {
    if (home !== coordinatorNumber) assertTellable(this.#parts.c.extents(ino), 'move');
  }

  #assertRoom(to: number, bytes: number): void {
    const { c, homes, roster, room } = this.#parts;
    const next = to === coordinatorNumber ? { ...room, isStored: c.writeBack !== undefined } : roster.of(to);
    if (next === undefined) throw new FsError('ENONET', 'move', { why: 'the next home has left' });
    if (c.writeBack !== undefined && !next.isStored)
      throw new FsError('ENOTSUP', 'move', {
        why: 'the files of this cluster are stored, and that node has no store: start it with --store DIR',
      });
    const free = next.capacityBytes - (homes.keptBytes.get(to) ?? 0);
    const refuse = (why: string): never => {
      throw new FsError('ENOSPC', 'move', { why: `the file has ${bytes} bytes, and the node ${why}` });
    };
    if (bytes > free) refuse(`room for ${Math.max(0, free)}`);
    if (bytes > next.memoryBytes) refuse(`memory for ${next.memoryBytes}: a file moves through that`);
  }

  /** In the same turn as the answer: who asks afterwards what became of it is told so. */
  #commit({ ino, generation }: FileId, { from, to }: Way): Promise<void> {
    const { c, homes } = this.#parts;
    const everywhere = c.journal.mutate(() => {
      const inode = new InodeCopy();
      if (!readInode(c.segment, ino, inode) || inode.generation !== generation)
        throw new FsError('ESTALE', 'move', { why: `inode ${ino} is gone` });
      if (inode.nlink === 0) throw new FsError('ENOENT', 'move', { why: 'it was removed meanwhile' });
      this.#assertCanBeTold(ino, to);
      if (from === coordinatorNumber) homes.countForeign(inode.pages);
      else if (to === coordinatorNumber) homes.countForeign(-inode.pages);
      if (from === coordinatorNumber) endStoring(c, ino);
      c.writer.touchInode(ino).home = to;
      if (to === coordinatorNumber) beginStoring(c, ino);
      c.journal.afterCommit(() => homes.changed(ino, { from, to }));
    });
    this.#isCommitting = true;
    c.journal.flush();
    this.#isCommitting = false;
    return everywhere;
  }
}

/** A node has begun nothing, and there is no other one to ask. */
const isStopping = (cause: FsError): FsError =>
  new FsError('ENONET', 'move', { path: cause.path, why: 'the node is stopping', cause });
