/**
 * A view: a file as an array, in place.
 *
 *   open ──close()──▶ closed
 *    └──the file has gone, or the session──▶ open over zeros ('stale')
 *
 * The array, its buffer and its address stay the same while the file moves, is replaced, grows or shrinks
 * under them.
 */
import { EventEmitter } from 'node:events';
import { FsError, native } from '@cluster-fs/transport';
import { aboutPath } from '../fs/about-path.ts';
import { pageSize } from '../segment/index.ts';
import type { FutexQueue } from './futex-queue.ts';
import type { Session } from './session.ts';
import { type Mapped, type ToMain, viewState } from './worker-protocol.ts';

export interface ViewOptions {
  /**
   * 'r' (default): a store kills the process, with a message that names the view. 'rw': stores go to the
   * file.
   */
  readonly mode?: 'r' | 'rw';
  /** 'live' (default): new content shows at once. 'manual': the view keeps what it has until `advance()`. */
  readonly follow?: 'live' | 'manual';
  /** Bytes into the file where the view starts; default 0. */
  readonly offset?: number;
  /** Bytes to show; default: up to the end of the file. */
  readonly length?: number;
  /** Bytes of address space, so that the view can grow with the file; default: the length. */
  readonly reserve?: number;
  /** A SharedArrayBuffer, to hand to workers. ENOTSUP where this Node cannot. */
  readonly shared?: boolean;
}

/**
 * What a view tells. `remap`: its pages lie elsewhere now. `change`: its content is another. `truncate`: it
 * is shorter.
 */
export interface ViewEvent {
  readonly cause: 'move' | 'replace' | 'truncate' | 'grow' | 'punch' | 'zero' | 'revoke';
  readonly layoutVersion: number;
  /** Bytes of the file now. */
  readonly size: number;
}

/** Somebody wants to change the file, and this view is in the way: close it, or the change fails. */
export interface RecallEvent {
  readonly path: string;
  /** The change, as a system call: 'truncate', 'fallocate', 'write' (new content), 'move'. */
  readonly reason: string;
  /** Bytes of the file that it takes. */
  readonly range: { readonly offset: number; readonly length: number };
  /** Milliseconds until the change is given up, or this client is revoked: as the node was told. */
  readonly deadlineMs: number;
}

interface ViewEvents {
  remap: [ViewEvent];
  change: [ViewEvent];
  truncate: [ViewEvent];
  recall: [RecallEvent];
  stale: [];
  close: [];
}

export class View extends EventEmitter<ViewEvents> {
  readonly path: string;
  readonly mode: 'r' | 'rw';
  readonly follow: 'live' | 'manual';
  readonly #session: Session;
  readonly #futexes: FutexQueue;
  readonly #mapped: Mapped;
  readonly #state: Float64Array;
  /** Bytes between the start of the mapping, which is on a page, and the start of the view. */
  readonly #skip: number;
  readonly #offset: number;
  readonly #buffer: ArrayBuffer | SharedArrayBuffer;
  #bytes: Uint8Array;
  #closed = false;

  private constructor(
    session: Session,
    futexes: FutexQueue,
    path: string,
    options: ViewOptions,
    mapped: Mapped,
    skip: number,
  ) {
    super();
    this.#session = session;
    this.#futexes = futexes;
    this.path = path;
    this.mode = options.mode ?? 'r';
    this.follow = options.follow ?? 'live';
    this.#mapped = mapped;
    this.#state = new Float64Array(mapped.state);
    this.#skip = skip;
    this.#offset = options.offset ?? 0;
    const { address } = mapped;
    const length = mapped.length - skip;
    this.#buffer =
      length === 0
        ? new ArrayBuffer(0)
        : options.shared === true
          ? native.sharedArrayBufferAt(address + skip, length)
          : native.arrayBufferAt(address + skip, length);
    this.#bytes = new Uint8Array(this.#buffer, 0, this.#visible());
    const state = this.#state;
    (this as EventEmitter).on('newListener', (name) => {
      this.#listen();
      if (name === 'recall') state[viewState.recallable] = 1;
    });
    (this as EventEmitter).on('removeListener', () => {
      if (this.listenerCount('recall') === 0) state[viewState.recallable] = 0;
    });
  }

  /** From here the worker tells of moves too. */
  #listen(): void {
    this.#state[viewState.listening] = 1;
  }

  /** Maps a file. Called by `fs.map`. */
  static async open(
    session: Session,
    futexes: FutexQueue,
    path: string,
    options: ViewOptions,
  ): Promise<View> {
    const { mode = 'r', follow = 'live', offset = 0, length, reserve } = options;
    for (const [name, value] of Object.entries({ offset, length, reserve })) {
      if (value !== undefined && (!Number.isSafeInteger(value) || value < 0)) {
        throw new FsError('EINVAL', 'map', { path, why: `${name} is no length in bytes` });
      }
    }
    const skip = offset % pageSize;
    let view: View | undefined;
    const early: ((v: View) => void)[] = [];
    const deliver = (act: (v: View) => void): void => {
      if (view === undefined) early.push(act);
      else act(view);
    };
    const mapped = await session.map(
      {
        path,
        mode,
        follow,
        offset: offset - skip,
        length: length === undefined ? undefined : length + skip,
        reserve: reserve === undefined ? undefined : reserve + skip,
      },
      {
        onRemapped: (event) => deliver((v) => v.#onRemapped(event)),
        onChanged: (event) => deliver((v) => v.#onChanged(event)),
        onStale: () => deliver((v) => v.emit('stale')),
        onRecall: (event) => deliver((v) => v.#onRecall(event)),
      },
    );
    try {
      view = new View(session, futexes, path, options, mapped, skip);
    } catch (error) {
      session.unmap(mapped.key, { keepAddresses: false });
      throw error;
    }
    for (const act of early) act(view);
    return view;
  }

  /**
   * The memory: `reserve` bytes when that was given, else the length at opening. It starts at the view's
   * offset, so a typed array can be laid over it: `new Float32Array(view.buffer)`.
   */
  get buffer(): ArrayBuffer | SharedArrayBuffer {
    this.#assertOpen('map');
    return this.#buffer;
  }

  /**
   * The file's bytes that the view shows. The same array until the file grows or shrinks within what is
   * reserved.
   */
  get bytes(): Uint8Array {
    this.#assertOpen('map');
    const visible = this.#visible();
    if (visible !== this.#bytes.length) this.#bytes = new Uint8Array(this.#buffer, 0, visible);
    return this.#bytes;
  }

  /** Bytes of the file, as far as this view follows it. */
  get size(): number {
    return this.#state[viewState.size] as number;
  }

  /** Grows with every change of where the file lies that this view has followed. */
  get layoutVersion(): number {
    return this.#state[viewState.layoutVersion] as number;
  }

  /** How often the pages under this view were swapped. */
  get remaps(): number {
    return this.#state[viewState.remaps] as number;
  }

  /** Where the view lies in this process's memory. It never changes. */
  get address(): number {
    return this.#mapped.address + this.#skip;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Brings a view that follows by hand to the newest content. */
  async advance(): Promise<this> {
    this.#assertOpen('advance');
    await this.#session.advance(this.#mapped.key);
    return this;
  }

  /**
   * Resolves when what was stored so far would survive a loss of power. Without a store it is safe from the
   * death of any process, at once, and of nothing else.
   */
  async sync(): Promise<void> {
    this.#assertOpen('msync');
    try {
      await this.#session.request('sync', { ino: this.#mapped.ino });
    } catch (error) {
      throw aboutPath(error, this.path);
    }
  }

  /** Brings a part of the view into memory before it is touched; offset and length in bytes. */
  async willNeed(offset = 0, length = this.size - offset): Promise<void> {
    this.#assertOpen('madvise');
    const first = Math.floor((this.#offset + offset) / pageSize);
    const end = Math.ceil((this.#offset + offset + length) / pageSize);
    await this.#session.fetchPages(this.#mapped.ino, { from: first, count: Math.max(0, end - first) });
  }

  /**
   * Waits while the 32-bit word at `offset` (bytes, a multiple of 4) is `expected`; across processes. The
   * event loop goes on meanwhile. Resolves to 'ok' after a `notify`, 'not-equal' when the word is another
   * already, 'timed-out'.
   */
  wait(
    offset: number,
    expected: number,
    timeoutMs = Number.POSITIVE_INFINITY,
  ): Promise<'ok' | 'not-equal' | 'timed-out'> {
    this.#listen();
    return this.#futexes.wait({ address: this.#wordAddress(offset), expected, timeoutMs });
  }

  /** Wakes up to `count` waiters on the word at `offset`, in all processes; how many it woke. */
  notify(offset: number, count = 0x7fff_ffff): number {
    return native.wakeFutex(this.#wordAddress(offset), count);
  }

  /**
   * Takes the memory away from every array over it (their length is 0 from here) and ends the lease. Safe to
   * call twice.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const shared = this.#buffer instanceof SharedArrayBuffer;
    if (!shared && this.#buffer.byteLength > 0) native.detachArrayBuffer(this.#buffer as ArrayBuffer);
    this.#session.unmap(this.#mapped.key, { keepAddresses: shared });
    this.emit('close');
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await Promise.resolve();
  }

  /** Bytes of the file that lie in the view's window. */
  #visible(): number {
    return Math.max(0, Math.min(this.#mapped.length - this.#skip, this.size - this.#offset));
  }

  #wordAddress(offset: number): number {
    this.#assertOpen('futex');
    if (
      !Number.isInteger(offset) ||
      offset < 0 ||
      offset % 4 !== 0 ||
      offset + 4 > this.#mapped.length - this.#skip ||
      this.#skip % 4 !== 0
    ) {
      throw new FsError('EINVAL', 'futex', { path: this.path, why: `no aligned word at offset ${offset}` });
    }
    return this.address + offset;
  }

  #assertOpen(syscall: string): void {
    if (this.#closed) throw new FsError('EBADF', syscall, { path: this.path, why: 'the view is closed' });
  }

  #onRemapped({ cause, layoutVersion, size }: ViewEvent): void {
    if (this.#closed) return;
    const event = { cause, layoutVersion, size };
    // A wait sleeps on a page of the segment; the page under the address is another now.
    this.#futexes.addressesMoved();
    this.emit('remap', event);
    if (cause === 'truncate') this.emit('truncate', event);
    if (cause !== 'move') this.emit('change', event);
  }

  #onRecall({ reason, from, count, deadlineMs }: Extract<ToMain, { type: 'recall' }>): void {
    if (this.#closed) return;
    const range = { offset: from * pageSize, length: count * pageSize };
    const isHeard = this.emit('recall', { path: this.path, reason, range, deadlineMs });
    if (!isHeard) this.#session.keep(this.#mapped.key);
  }

  #onChanged({ cause, layoutVersion, size }: ViewEvent): void {
    if (!this.#closed) this.emit('change', { cause, layoutVersion, size });
  }
}
