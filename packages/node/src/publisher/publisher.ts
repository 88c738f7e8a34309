/**
 * A directory of the disk that appears in the cluster, and stays in step.
 *
 * Watching only says where to look. What is done there depends on what is found, and for each path one after
 * the other:
 *
 *   hint ──▶ settling ──▶ waiting for a slot ──▶ publishing ──▶ done
 *               ▲                                   │ changed meanwhile, or hinted at again
 *               └───────────────────────────────────┘
 *
 * INVARIANT: a file of the cluster has the bytes of one version of the file on disk, whole.
 * INVARIANT: a hint that comes while a path is worked on is not lost.
 *
 * The disk wins at the next change there: what a client wrote below a published path stays until the file of
 * that name changes on disk. What only clients have made stays.
 */
import { setMaxListeners } from 'node:events';
import { readdir, realpath } from 'node:fs/promises';
import { posix, relative, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type ClusterFs, FsError } from 'cluster-fs';
import { type DiskEntry, isGone, isSameInode, lookAt } from './disk-entry.ts';
import type { Ledger } from './ledger.ts';
import { Changed, diskPath, type Mirror, publish, publishedPath } from './mirror.ts';
import { scan } from './scan.ts';
import { settled } from './settle.ts';
import { Slots } from './slots.ts';
import { Watches } from './watches.ts';

export interface PublisherOptions {
  readonly fs: ClusterFs;
  readonly directory: string;
  /** Where it appears in the cluster. */
  readonly root: string;
  /** How long a file must be left alone before it counts as written. */
  readonly settleMs: number;
  readonly ledger: Ledger;
  readonly onProblem: (problem: Problem) => void;
}

export interface Problem {
  /** In the cluster. */
  readonly path: string;
  readonly code: string;
  readonly message: string;
}

export interface Loaded {
  readonly files: number;
  readonly bytes: number;
  readonly elapsedMs: number;
}

export interface LoadProgress {
  readonly files: number;
  readonly bytes: number;
  readonly totalFiles: number;
  readonly totalBytes: number;
}

export const limits = {
  /** Files copied at a time: more do not make a disk faster, and each has two chunks in memory. */
  copies: 4,
  /** Paths that the first load works on at a time. */
  loads: 32,
  /** How long the first load waits for a file that is being written. */
  loadWaitMs: 2000,
  /** What failed for want of something is tried again: after the first, then twice that, up to the second. */
  firstRetryMs: 200,
  lastRetryMs: 60_000,
  /** How long a failure of the racing kind may last before it is reported. */
  quietMs: 3000,
  /** How often it is looked whether the directory is still the one that is watched. */
  rootCheckMs: 1000,
} as const;

/** Failures that go away by themselves; others need a change of the file. */
const passing = new Set(['ENOSPC', 'EBUSY', 'EAGAIN', 'EMFILE', 'ENFILE', 'ENOMEM', 'ESTALE', 'EIO']);
/** What a path meets whose directory is just becoming something else. Worth a word only if it stays so. */
const racing = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'EEXIST', 'EISDIR', 'ENOTEMPTY']);

interface Retry {
  readonly count: number;
  /** When it failed first. */
  readonly sinceMs: number;
  readonly timer: NodeJS.Timeout;
}

export class Publisher {
  readonly #options: PublisherOptions;
  #mirror: Mirror;
  readonly #abort = new AbortController();
  readonly #slots = new Slots(limits.copies);
  /** What was last published, by name below the directory. */
  readonly #published = new Map<string, DiskEntry>();
  readonly #active = new Map<string, Promise<void>>();
  readonly #again = new Set<string>();
  readonly #settling = new Set<string>();
  /** What was said of a path, so that it is said once. */
  readonly #problems = new Map<string, string>();
  readonly #retries = new Map<string, Retry>();
  readonly #watches: Watches;
  #rootChecks: Promise<void> = Promise.resolve();
  #isLoading = true;
  /** The directory that is watched; undefined while it is gone. */
  #root: Root | undefined;

  private constructor(options: PublisherOptions) {
    this.#options = options;
    // Every path that is waited for listens to it.
    setMaxListeners(0, this.#abort.signal);
    this.#mirror = {
      fs: options.fs,
      directory: resolve(options.directory),
      root: options.root,
      signal: this.#abort.signal,
    };
    this.#watches = new Watches({
      onHint: (path) => this.#hintAt(path),
      onError: (path, error) => this.#report(this.#nameOf(path), error),
    });
  }

  /**
   * Publishes what is there and goes on to follow it.
   *
   * @throws ENOENT, ENOTDIR: no such directory; FsError of the cluster when nothing can be made there
   */
  static async start(
    options: PublisherOptions,
    { onProgress, signal }: { onProgress: (p: LoadProgress) => void; signal: AbortSignal },
  ): Promise<{ readonly publisher: Publisher; readonly loaded: Loaded }> {
    const publisher = new Publisher(options);
    signal.throwIfAborted();
    const stop = (): void => publisher.#abort.abort(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    try {
      return { publisher, loaded: await publisher.#start(onProgress) };
    } catch (error) {
      await publisher.close();
      throw error;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  get directory(): string {
    return this.#mirror.directory;
  }

  get root(): string {
    return this.#mirror.root;
  }

  /** Stops following; what is published stays. Nothing is half done when it resolves. */
  async close(): Promise<void> {
    this.#abort.abort();
    for (const { timer } of this.#retries.values()) clearTimeout(timer);
    await this.#rootChecks;
    await this.#watches.close();
    await Promise.all(this.#active.values());
  }

  async #start(onProgress: (p: LoadProgress) => void): Promise<Loaded> {
    const startMs = performance.now();
    this.#root = await lookAtRoot(this.#options.directory);
    if (this.#root === undefined) throw new FsError('ENOENT', 'publish', { path: this.#options.directory });
    this.#mirror = { ...this.#mirror, directory: this.#root.directory };
    await this.#options.fs.promises.mkdir(this.root, { recursive: true });
    const { files, bytes } = await this.#load(onProgress);
    await this.#options.ledger.sync();
    this.#isLoading = false;
    this.#rootChecks = this.#checkRoots();
    return { files, bytes, elapsedMs: performance.now() - startMs };
  }

  async #load(onProgress: (p: LoadProgress) => void): Promise<{ files: number; bytes: number }> {
    const { signal } = this.#abort;
    const found = new Map<string, DiskEntry>();
    let totalFiles = 0;
    let totalBytes = 0;
    const listener = {
      onDirectory: (path: string, entry: DiskEntry) => this.#watches.watch(path, entry),
      onError: (name: string, error: unknown) => {
        this.#report(name, error);
        // As in `#list`: what is not listed is not watched either.
        void this.#watches.unwatch(diskPath(this.#mirror, name));
      },
    };
    for await (const { name, entry } of scan(this.directory, listener)) {
      signal.throwIfAborted();
      found.set(name, entry);
      if (entry.kind !== 'file') continue;
      totalFiles++;
      totalBytes += entry.size;
    }
    const done = { files: 0, bytes: 0 };
    const loads = new Slots(limits.loads);
    await this.#removeGone(found);
    const loadOne = async (name: string, entry: DiskEntry): Promise<void> => {
      const work = this.#hint(name);
      await Promise.race([work, wait(limits.loadWaitMs, undefined, { ref: false })]);
      // One that is being written comes when it is left alone; one that is being copied is waited for.
      if (!this.#settling.has(name)) await work;
      if (entry.kind !== 'file' || !this.#published.has(name)) return;
      done.files++;
      done.bytes += entry.size;
      onProgress({ ...done, totalFiles, totalBytes });
    };
    await Promise.all([...found].map(([name, entry]) => loads.run(() => loadOne(name, entry))));
    signal.throwIfAborted();
    return done;
  }

  /** What a node that crashed had published, and has gone from the disk since. */
  async #removeGone(found: ReadonlyMap<string, DiskEntry>): Promise<void> {
    const { fs, ledger } = this.#options;
    for (const path of ledger.below(this.root)) {
      if (found.has(posix.relative(this.root, path))) continue;
      await fs.promises.rm(path, { recursive: true, force: true });
      ledger.delete(path);
    }
  }

  #nameOf(path: string): string {
    return relative(this.directory, path);
  }

  /** A path of the disk may have changed. */
  #hintAt(path: string): void {
    const name = this.#nameOf(path);
    // Told late, of a directory that is no longer the one that is published.
    if (name === '..' || name.startsWith('../')) return;
    // Never rejects: what fails is reported.
    void this.#hint(name);
  }

  /** Looks at `name` soon; resolves when it is in step, or has failed. */
  #hint(name: string): Promise<void> {
    if (this.#abort.signal.aborted) return Promise.resolve();
    const active = this.#active.get(name);
    if (active !== undefined) {
      this.#again.add(name);
      return active;
    }
    const work = this.#follow(name).finally(() => this.#active.delete(name));
    this.#active.set(name, work);
    return work;
  }

  async #follow(name: string): Promise<void> {
    const { signal } = this.#abort;
    clearTimeout(this.#retries.get(name)?.timer);
    do {
      this.#again.delete(name);
      try {
        const { settleMs } = this.#options;
        const options = { settleMs, signal, trustAge: this.#isLoading };
        this.#settling.add(name);
        const settling = settled(diskPath(this.#mirror, name), options);
        const entry = await settling.finally(() => this.#settling.delete(name));
        const before = this.#published.get(name);
        await this.#slots.run(() => this.#bring(name, entry));
        if (entry?.kind === 'directory') await this.#enter(name, { entry, before });
        this.#problems.delete(name);
        this.#retries.delete(name);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Changed) this.#again.add(name);
        else this.#onFailure(name, error);
      }
    } while (this.#again.has(name));
  }

  /** Publishes what was found, and looks where that may have left something out. */
  async #bring(name: string, entry: DiskEntry | undefined): Promise<void> {
    const before = this.#published.get(name);
    // What was never published is not ours to remove; and a directory that is gone, say unmounted, takes
    // nothing along.
    if (
      entry === undefined &&
      (before === undefined || (await lookAtRoot(this.#options.directory)) === undefined)
    )
      return;
    if (before?.kind === 'directory' && entry?.kind !== 'directory') await this.#forget(name);
    const { ledger } = this.#options;
    const path = publishedPath(this.#mirror, name);
    if (entry !== undefined && ledger.add(path) && !this.#isLoading) await ledger.sync();
    await publish(this.#mirror, name, { entry, before });
    if (entry !== undefined) this.#published.set(name, entry);
    else {
      this.#published.delete(name);
      ledger.delete(path);
      // It may have come back while it was removed, and then its children were removed with it.
      if ((await lookAt(diskPath(this.#mirror, name))) !== undefined) this.#again.add(name);
    }
  }

  /** Watches a directory, and if it is new or took the place of another, looks at everything in it. */
  async #enter(
    name: string,
    { entry, before }: { readonly entry: DiskEntry; readonly before: DiskEntry | undefined },
  ): Promise<void> {
    const path = diskPath(this.#mirror, name);
    const watched = await this.#watches.watch(path, entry);
    if (watched === 'lost') throw new Changed(path);
    if (watched === 'known') return;
    const known = before === undefined ? [] : this.#publishedBelow(name);
    const found = (await this.#list(path)).map((child) => posix.join(name, child));
    for (const each of [...known, ...found]) void this.#hint(each);
  }

  /** What is not listed is not watched either: the next look begins anew. */
  async #list(path: string): Promise<string[]> {
    try {
      return await readdir(path);
    } catch (error) {
      await this.#watches.unwatch(path);
      throw error;
    }
  }

  #publishedBelow(name: string): string[] {
    const prefix = name === '' ? '' : `${name}/`;
    return [...this.#published.keys()].filter((each) => each !== '' && each.startsWith(prefix));
  }

  /** A directory is about to go from the cluster, with all that is in it. */
  async #forget(name: string): Promise<void> {
    for (const each of [name, ...this.#publishedBelow(name)]) {
      this.#published.delete(each);
      this.#options.ledger.delete(publishedPath(this.#mirror, each));
      await this.#watches.unwatch(diskPath(this.#mirror, each));
    }
  }

  #onFailure(name: string, error: unknown): void {
    const { count, sinceMs } = this.#retries.get(name) ?? { count: 0, sinceMs: performance.now() };
    const code = codeOf(error);
    if (!racing.has(code) || performance.now() - sinceMs > limits.quietMs) this.#report(name, error);
    if (!racing.has(code) && !passing.has(code)) return;
    const ms = Math.min(limits.firstRetryMs * 2 ** count, limits.lastRetryMs);
    const timer = setTimeout(() => void this.#hint(name), ms).unref();
    this.#retries.set(name, { count: count + 1, sinceMs, timer });
  }

  /** Says it once, until it is something else. */
  #report(name: string, error: unknown): void {
    const code = codeOf(error);
    if (this.#problems.get(name) === code) return;
    this.#problems.set(name, code);
    const message = error instanceof Error ? error.message : String(error);
    this.#options.onProblem({ path: publishedPath(this.#mirror, name), code, message });
  }

  /**
   * Watching is by inode: when another directory takes the name, it is watched anew and everything is looked
   * at.
   */
  async #checkRoot(): Promise<void> {
    const known = this.#root;
    this.#root = await lookAtRoot(this.#options.directory);
    if (this.#root === undefined) {
      if (known === undefined) return;
      this.#problems.delete('');
      const why = 'what was published stays';
      this.#report('', new FsError('ENOENT', 'publish', { path: this.#options.directory, why }));
    } else if (known === undefined || !isSameRoot(known, this.#root)) {
      this.#mirror = { ...this.#mirror, directory: this.#root.directory };
      this.#problems.delete('');
      await this.#watches.unwatchAll();
      // What is in it follows when it is entered.
      for (const name of ['', ...this.#published.keys()]) void this.#hint(name);
    }
  }

  /** One check at a time. */
  async #checkRoots(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      try {
        await wait(limits.rootCheckMs, undefined, { signal: this.#abort.signal, ref: false });
        await this.#checkRoot();
      } catch (error) {
        if (!this.#abort.signal.aborted) this.#report('', error);
      }
    }
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'EIO';

interface Root {
  /** Without links: one that is given may be made to lead elsewhere, and then that is published. */
  readonly directory: string;
  readonly entry: DiskEntry;
}

/** Undefined unless there is a directory. */
async function lookAtRoot(given: string): Promise<Root | undefined> {
  try {
    const directory = await realpath(given);
    const entry = await lookAt(directory);
    return entry?.kind === 'directory' ? { directory, entry } : undefined;
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

const isSameRoot = (a: Root, b: Root): boolean =>
  a.directory === b.directory && isSameInode(a.entry, b.entry);
