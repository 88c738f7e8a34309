/** A mounted file system: the file API, views, and what an operator may ask. */
import { EventEmitter } from 'node:events';
import { type Event, type Extent, FsError, type Reply } from '@cluster-fs/transport';
import { FutexQueue } from './client/futex-queue.ts';
import { Session, type SessionOptions } from './client/session.ts';
import { View, type ViewOptions } from './client/view.ts';
import { aboutPath } from './fs/about-path.ts';
import { createFileApi, type FileApi } from './fs/index.ts';
import { homeIn, InodeCopy, pageSize, readExtents, walk } from './segment/index.ts';

export interface LongOptions {
  /** Called as the work goes on, with pages done and in all. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops the work as soon as it can; what is done stays done. */
  readonly signal?: AbortSignal;
}

/**
 * `away`: the node is gone, views stay readable and writable. `back`: it is there again. `lost`: it will not
 * be.
 */
interface ClusterFsEvents {
  away: [];
  back: [];
  lost: [FsError];
}

/** What ClusterFs is besides its own methods. */
export interface ClusterFs extends FileApi {}

// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the constructor assigns every member of FileApi.
export class ClusterFs extends EventEmitter<ClusterFsEvents> {
  readonly url: string;
  #session!: Session;
  readonly #futexes = new FutexQueue();
  readonly #stopNode: (() => Promise<void>) | undefined;
  readonly #views = new Set<View>();
  /** Loops over events; called when no more will come, with why. */
  readonly #eventLoops = new Set<(reason: FsError | undefined) => void>();
  #unmounting: Promise<void> | undefined;

  private constructor(url: string, stopNode: (() => Promise<void>) | undefined) {
    super();
    this.url = url;
    this.#stopNode = stopNode;
  }

  /** Called by `mount`. */
  static async open(
    options: SessionOptions,
    { url, stop }: { url: string; stop: (() => Promise<void>) | undefined },
  ): Promise<ClusterFs> {
    const fs = new ClusterFs(url, stop);
    try {
      fs.#session = await Session.open(options, {
        onAway: () => fs.emit('away'),
        onBack: () => fs.emit('back'),
        onLost: (error) => {
          for (const end of fs.#eventLoops) end(error);
          fs.emit('lost', error);
        },
      });
    } catch (error) {
      await stop?.();
      throw error;
    }
    return Object.assign(fs, createFileApi(fs.#session));
  }

  /** Numbers of the mount, as the node lists its sessions, and of the node. */
  get session(): { readonly id: number; readonly nodePid: number; readonly onDemand: boolean } {
    const { session, nodePid, onDemand } = this.#session.facts;
    return { id: session, nodePid, onDemand };
  }

  /**
   * Maps a file: its bytes as an array, in place, for as long as the view is open.
   *
   * @throws FsError ENOENT, EISDIR, EACCES, EROFS, ENOSPC (a view to write gives every page of the file
   * memory)
   */
  async map(path: string, options: ViewOptions = {}): Promise<View> {
    const view = await View.open(this.#session, this.#futexes, path, options);
    this.#views.add(view);
    view.once('close', () => this.#views.delete(view));
    return view;
  }

  /**
   * Moves a file to one new run of pages while it is in use. ENOSPC when no run is long enough, EBUSY when a
   * holder does not answer. Of `elapsedMs`, `copyMs` was copying, with writers to the piece in hand waiting;
   * `swapMs` is from the commit of the last piece until every holder had it in place.
   */
  move(path: string, { onProgress, signal }: LongOptions = {}): Promise<Reply<'move'>> {
    return this.#session.request(
      'move',
      { path, progress: onProgress !== undefined },
      longRequest(onProgress, signal),
    );
  }

  /**
   * Moves a file to another node of the cluster, by its name, while it is in use: from then on that node
   * keeps its bytes. Views everywhere stay valid, no store is lost; for `pausedMs` nobody could store.
   * Interrupted, the file stays where it was. ENOENT when no node of that name keeps files, ENOSPC when it
   * has no room, EBUSY when a client has the file pinned or follows it by hand, ENOTSUP on a node alone.
   */
  migrate(path: string, to: string, { onProgress, signal }: LongOptions = {}): Promise<Reply<'migrate'>> {
    return this.#session.request(
      'migrate',
      { path, to, progress: onProgress !== undefined },
      longRequest(onProgress, signal),
    );
  }

  /** Moves all files of a node to others that have room for them; which of them stayed, and why. */
  drain(node: string, { onProgress, signal }: LongOptions = {}): Promise<Reply<'drain'>> {
    return this.#session.request(
      'drain',
      { node, progress: onProgress !== undefined },
      longRequest(onProgress, signal),
    );
  }

  /**
   * Moves files to the nodes that use them, and from full nodes to empty ones; `dryRun`: says which. Nodes
   * that are `away` keep what they have, and get nothing.
   */
  rebalance({
    dryRun = false,
    onProgress,
    signal,
  }: LongOptions & { dryRun?: boolean } = {}): Promise<Reply<'rebalance'>> {
    return this.#session.request(
      'rebalance',
      { dryRun, progress: onProgress !== undefined },
      longRequest(onProgress, signal),
    );
  }

  /**
   * Packs the segment while it is in use: every file one extent, free space one run, as far as space allows.
   */
  defrag({ onProgress, signal }: LongOptions = {}): Promise<Reply<'defrag'>> {
    // Pages set aside here would be in the way.
    this.#session.giveBackStock();
    return this.#session.request(
      'defrag',
      { progress: onProgress !== undefined },
      longRequest(onProgress, signal),
    );
  }

  /**
   * Makes a file durable, or everything: content, names and attributes that were answered before the call
   * survive a loss of power when it resolves. `durable` is false when the node has no store.
   */
  async sync(path?: string): Promise<Reply<'sync'>> {
    const sync = (ino?: number) => this.#session.request('sync', { ino });
    return path === undefined ? sync() : this.#about(path, sync);
  }

  /**
   * Brings a file, or a part of it, into memory; with a store, a touch of what is not there takes longer.
   * Offset and length in bytes; default: all.
   */
  async prefetch(
    path: string,
    { offset = 0, length }: { offset?: number; length?: number } = {},
  ): Promise<void> {
    const from = Math.floor(offset / pageSize);
    const end = length === undefined ? 2 ** 32 - 1 : Math.ceil((offset + length) / pageSize);
    await this.#about(path, (ino) => this.#session.fetchPages(ino, { from, count: end - from }));
  }

  /** Takes a file out of memory as far as it can be; it stays in the store. How many bytes went. */
  async evict(path: string): Promise<number> {
    const { pages } = await this.#about(path, (ino) => this.#session.request('evict', { ino }));
    return pages * pageSize;
  }

  /** Keeps a file in memory, all of it, until `unpin` or the end of the mount. */
  async pin(path: string): Promise<void> {
    await this.#about(path, (ino) => this.#session.request('pin', { ino, on: true }));
  }

  async unpin(path: string): Promise<void> {
    await this.#about(path, (ino) => this.#session.request('pin', { ino, on: false }));
  }

  /** Where a file lies, from shared memory. Holes are in no extent. */
  extents(path: string): readonly Extent[] {
    return readExtents(this.#session.segment, this.#inoOf(path), new InodeCopy());
  }

  /** The name of the node that keeps the bytes of a file; null where the node is of no cluster. */
  async homeOf(path: string): Promise<string | null> {
    const ino = this.#inoOf(path);
    const { cluster } = (await this.status()) as {
      readonly cluster: { readonly homes: readonly Home[] } | null;
    };
    const number = homeIn(this.#session.segment, ino);
    return cluster?.homes.find((home) => home.number === number)?.name ?? null;
  }

  /** Asks for something about the file at `path`; what goes wrong is about that path. */
  async #about<T>(path: string, ask: (ino: number) => Promise<T>): Promise<T> {
    const ino = this.#inoOf(path);
    try {
      return await ask(ino);
    } catch (error) {
      throw aboutPath(error, path);
    }
  }

  #inoOf(path: string): number {
    const { segment, credentials } = this.#session;
    this.#session.assertUsable('open', path);
    const { ino } = walk(segment, path, { follow: true, syscall: 'open', credentials });
    if (ino === 0) throw new FsError('ENOENT', 'open', { path });
    return ino;
  }

  /** What the node is, has and does. */
  async status(): Promise<Readonly<Record<string, unknown>>> {
    return (await this.#session.request('status', {})).status as Readonly<Record<string, unknown>>;
  }

  /** Who maps what, and what they hold up. */
  async holders(path?: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
    return (await this.#session.request('holders', { path })).holders as readonly Readonly<
      Record<string, unknown>
    >[];
  }

  /** Ends another session. */
  async revoke(session: number): Promise<void> {
    await this.#session.request('revoke', { session });
  }

  /** Runs every invariant over the segment; one line for each that does not hold. */
  async check(): Promise<readonly string[]> {
    return (await this.#session.request('check', {})).findings;
  }

  /**
   * What happens, as it happens; everything, or what is below `path`. Ends with the signal, with the loop,
   * and with the mount; throws when the node is lost.
   */
  async *events({
    path,
    signal,
  }: {
    path?: string;
    signal?: AbortSignal;
  } = {}): AsyncGenerator<Event<'event'>> {
    const queue: Event<'event'>[] = [];
    let wake: (() => void) | undefined;
    let ended = false;
    let failure: FsError | undefined;
    const poke = (): void => wake?.();
    const stop = await this.#session.subscribe(path, (event) => {
      queue.push(event);
      poke();
    });
    const end = (reason: FsError | undefined): void => {
      ended = true;
      failure = reason;
      poke();
    };
    this.#eventLoops.add(end);
    signal?.addEventListener('abort', poke);
    try {
      while (signal?.aborted !== true) {
        const next = queue.shift();
        if (next !== undefined) yield next;
        else if (ended) {
          if (failure !== undefined) throw failure;
          return;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      this.#eventLoops.delete(end);
      signal?.removeEventListener('abort', poke);
      stop();
    }
  }

  /** Closes every view and the session; an embedded node stops too. Safe to call twice. */
  unmount(): Promise<void> {
    this.#unmounting ??= this.#unmount();
    return this.#unmounting;
  }

  async #unmount(): Promise<void> {
    for (const view of [...this.#views]) view.close();
    for (const end of this.#eventLoops) end(undefined);
    await this.#futexes.close();
    await this.#session.close();
    await this.#stopNode?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.unmount();
  }
}

/** As `status` tells of it. */
interface Home {
  readonly number: number;
  readonly name: string;
}

function longRequest(onProgress: LongOptions['onProgress'], signal: AbortSignal | undefined) {
  const report =
    onProgress === undefined ? {} : { onProgress: (p: Event<'progress'>) => onProgress(p.done, p.total) };
  return signal === undefined ? report : { ...report, signal };
}
