/**
 * FileHandle: an open file. The node keeps the inode while the handle is open, whatever happens to its names.
 *
 *   open ──close()──▶ closing (operations under way) ──the last one ends──▶ closed
 *
 * Operations that move the handle's position, and all writes, take turns in the order they were called. Reads
 * at a given position do not wait. An operation that needs no turn and little copying is done before its
 * method returns.
 */
import { EventEmitter } from 'node:events';
import { constants, type ReadStream, type WriteStream } from 'node:fs';
import type { Interface } from 'node:readline';
import { FsError } from '@cluster-fs/transport';
import { InodeCopy, isDirectory, readInode } from '../segment/index.ts';
import { throwIfAborted } from './argument-errors.ts';
import { integerOf, modeOf, type Options, optionsOf, ownerOf, timeOf } from './arguments.ts';
import type { Attributes } from './attributes.ts';
import { contentOf, isSource, writeSource } from './content.ts';
import { assertWritable, type Context, statsOf } from './context.ts';
import { readArguments, vectorArguments, writeArguments } from './handle-arguments.ts';
import { accessOf, NodeHandle } from './node-handle.ts';
import { readAt, Source } from './reading.ts';
import { changeRange, type RangeMode, rangeOf, type SparseHandle, seekNow } from './sparse.ts';
import type { BigIntStats, Stats } from './stats.ts';
import { readableWebStream, readStreamOf, type StreamOptions, writeStreamOf } from './streams.ts';
import { decoded, readRest } from './whole-file.ts';
import { writeAt } from './writing.ts';

/** Opens a file: one request. */
export async function openHandle(
  context: Context,
  path: string,
  flags: number,
  mode: number,
): Promise<FileHandle> {
  return new FileHandle(context, await NodeHandle.open(context, path, flags, mode));
}

/**
 * The FileHandle of node:fs/promises. It is an EventEmitter because node's is one: it tells 'close'.
 *
 * Two things differ: `fd` is a number of this mount and no kernel descriptor, and a handle that is never
 * closed is not closed by the garbage collector. What `SparseHandle` says is added.
 */
export class FileHandle extends EventEmitter implements SparseHandle {
  readonly #context: Context;
  readonly #opened: NodeHandle;
  readonly #source: Source;
  #fd: number;
  #position = 0;
  /** The operation that the next one in turn waits for. */
  #turn: Promise<void> | undefined;
  /** One for being open, and one for each operation under way and stream on it. */
  #uses = 1;
  #closing: Promise<void> | undefined;
  #closed: (() => void) | undefined;

  constructor(context: Context, opened: NodeHandle) {
    super();
    this.#context = context;
    this.#opened = opened;
    this.#source = new Source(opened.ino, opened.generation);
    this.#fd = context.nextFd();
  }

  /**
   * A number that no other open handle of this mount has; -1 when closed. It is no descriptor of the kernel.
   */
  get fd(): number {
    return this.#fd;
  }

  read(buffer?: unknown, offset?: unknown, length?: unknown, position?: unknown) {
    return this.#use('read', async () => {
      const given = readArguments(buffer, offset, length, position);
      if (given.target.length === 0) return nullObject({ bytesRead: 0, buffer: given.buffer });
      const reading = this.#read(given.target, given.position);
      const bytesRead = typeof reading === 'number' ? reading : await reading;
      return nullObject({ bytesRead, buffer: given.buffer });
    });
  }

  readv(buffers: readonly ArrayBufferView[], position?: number | null) {
    return this.#use('readv', async () => {
      const given = vectorArguments(buffers, position);
      if (given.views.length === 0) throw new FsError('EINVAL', 'read');
      const total = given.views.reduce((sum, { length }) => sum + length, 0);
      const joined = Buffer.allocUnsafe(total);
      const bytesRead = await this.#read(joined, given.position);
      let from = 0;
      for (const view of given.views)
        from += joined.copy(view, 0, from, Math.min(from + view.length, bytesRead));
      return nullObject({ bytesRead, buffers });
    });
  }

  /** From where the handle stands to the end. */
  readFile(options?: Options | BufferEncoding | null) {
    return this.#use('readFile', async () => {
      const given = optionsOf(options);
      throwIfAborted(given.signal);
      this.#assertReadable();
      const content = await this.#inTurn(() => this.#readRest(given.signal));
      return decoded(content, given);
    });
  }

  write(data: unknown, offset?: unknown, length?: unknown, position?: unknown) {
    return this.#use('write', async () => {
      const given = writeArguments(data, offset, length, position);
      const bytesWritten = given.bytes.length === 0 ? 0 : await this.#write(given.bytes, given.position);
      return nullObject({ bytesWritten, buffer: data });
    });
  }

  writev(buffers: readonly ArrayBufferView[], position?: number | null) {
    return this.#use('writev', async () => {
      const given = vectorArguments(buffers, position);
      const bytes = given.views.length === 1 ? (given.views[0] as Buffer) : Buffer.concat(given.views);
      const bytesWritten = bytes.length === 0 ? 0 : await this.#write(bytes, given.position);
      return nullObject({ bytesWritten, buffers });
    });
  }

  /** Writes all of `data` from where the handle stands; at the end with O_APPEND. */
  writeFile(data: unknown, options?: Options | BufferEncoding | null): Promise<void> {
    return this.#use('writeFile', () => this.#writeFile(data, optionsOf(options)));
  }

  /** As node's: the same as writeFile. */
  appendFile(data: unknown, options?: Options | BufferEncoding | null): Promise<void> {
    return this.writeFile(data, options);
  }

  stat(options: { readonly bigint?: boolean } = {}): Promise<Stats | BigIntStats> {
    return this.#use('fstat', async () => {
      const { bigint } = options;
      this.#context.backend.assertUsable('fstat');
      return statsOf(this.#context, this.#inode('fstat'), bigint);
    });
  }

  truncate(length: unknown = 0): Promise<void> {
    return this.#use('ftruncate', async () => {
      const size = Math.max(0, integerOf(length, 'len'));
      if (!this.#writable || this.#isDirectory()) throw new FsError('EINVAL', 'ftruncate');
      await this.#inTurn(() => this.#setAttributes('ftruncate', { size }));
    });
  }

  punchHole(offset: unknown, length: unknown): Promise<void> {
    return this.#changeRange('punch', () => rangeOf(offset, length));
  }

  zeroRange(offset: unknown, length: unknown, options?: unknown): Promise<void> {
    return this.#changeRange('zero', () => rangeOf(offset, length, options));
  }

  allocate(offset: unknown, length: unknown, options?: unknown): Promise<void> {
    return this.#changeRange('allocate', () => rangeOf(offset, length, options));
  }

  #changeRange(mode: RangeMode, given: () => ReturnType<typeof rangeOf>): Promise<void> {
    return this.#use('fallocate', async () => {
      const range = given();
      assertWritable(this.#context, 'fallocate');
      if (!this.#writable || this.#isDirectory()) throw new FsError('EBADF', 'fallocate');
      const opened = this.#opened;
      await this.#inTurn(() =>
        opened.ask(() => {
          const { size } = this.#inode('fallocate');
          return changeRange(this.#context, { handle: opened.handle }, mode, { ...range, size });
        }),
      );
    });
  }

  seekData(offset: unknown): Promise<number> {
    return this.#use('lseek', async () =>
      seekNow(this.#context, this.#source, integerOf(offset, 'offset'), 'data'),
    );
  }

  seekHole(offset: unknown): Promise<number> {
    return this.#use('lseek', async () =>
      seekNow(this.#context, this.#source, integerOf(offset, 'offset'), 'hole'),
    );
  }

  chmod(mode: unknown): Promise<void> {
    return this.#use('fchmod', async () => {
      await this.#setAttributes('fchmod', { mode: modeOf(mode) & 0o7777 });
    });
  }

  chown(uid: unknown, gid: unknown): Promise<void> {
    return this.#use('fchown', async () => {
      await this.#setAttributes('fchown', { uid: ownerOf(uid, 'uid'), gid: ownerOf(gid, 'gid') });
    });
  }

  utimes(atime: unknown, mtime: unknown): Promise<void> {
    return this.#use('futimes', async () => {
      const times = { atimeMs: timeOf(atime, 'atime'), mtimeMs: timeOf(mtime, 'mtime') };
      await this.#setAttributes('futime', times);
    });
  }

  /**
   * Resolves when all earlier writes of this handle are in the file, where every process sees them; and, when
   * the node has a store, would survive a loss of power.
   */
  sync(): Promise<void> {
    return this.#sync('fsync');
  }

  /** The same as `sync`. */
  datasync(): Promise<void> {
    return this.#sync('fdatasync');
  }

  #sync(syscall: 'fsync' | 'fdatasync'): Promise<void> {
    return this.#use(syscall, async () => {
      await this.#inTurn(() => undefined);
      await this.#context.requests.request('sync', { ino: this.#source.ino });
    });
  }

  createReadStream(options?: StreamOptions | BufferEncoding): ReadStream {
    return readStreamOf(this, options);
  }

  createWriteStream(options?: StreamOptions | BufferEncoding): WriteStream {
    return writeStreamOf(this, options);
  }

  readableWebStream() {
    return readableWebStream(this);
  }

  readLines(options?: StreamOptions | BufferEncoding): Interface {
    const { createInterface } = process.getBuiltinModule('node:readline');
    return createInterface({ input: this.createReadStream(options), crlfDelay: Number.POSITIVE_INFINITY });
  }

  /** Resolves when the operations under way are done. Needs no answer of the node. */
  close(): Promise<void> {
    if (this.#fd === -1) return Promise.resolve();
    if (this.#closing !== undefined) return this.#closing;
    this.#closing = new Promise((resolve) => {
      this.#closed = resolve;
    });
    this.release();
    this.emit('close');
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Keeps the handle open until `release`, also when it is closed meanwhile: for streams on it. */
  retain(): void {
    this.#uses++;
  }

  release(): void {
    if (--this.#uses > 0) return;
    this.#fd = -1;
    this.#opened.close();
    this.#closed?.();
  }

  get #writable(): boolean {
    return accessOf(this.#opened.flags) !== constants.O_RDONLY;
  }

  #inode(syscall: string): InodeCopy {
    const inode = new InodeCopy();
    const { ino, generation } = this.#opened;
    if (!readInode(this.#context.backend.segment, ino, inode) || inode.generation !== generation) {
      throw new FsError('ESTALE', syscall, { why: 'the inode is gone' });
    }
    return inode;
  }

  #isDirectory(): boolean {
    const inode = new InodeCopy();
    return readInode(this.#context.backend.segment, this.#opened.ino, inode) && isDirectory(inode.mode);
  }

  #assertReadable(): void {
    this.#context.backend.assertUsable('read');
    if (accessOf(this.#opened.flags) === constants.O_WRONLY) throw new FsError('EBADF', 'read');
  }

  /** Runs an operation of the open handle, which stays open until it ends. */
  async #use<T>(syscall: string, work: () => Promise<T>): Promise<T> {
    if (this.#fd === -1) throw closedError(syscall);
    this.#uses++;
    try {
      const pause = this.#context.breathe();
      if (pause !== undefined) await pause;
      return await work();
    } finally {
      this.release();
    }
  }

  /** Runs `work` when what was called before is done: at once when nothing is under way. */
  #inTurn<T>(work: () => T | Promise<T>): T | Promise<T> {
    const result = this.#turn === undefined ? work() : this.#turn.then(work);
    if (!(result instanceof Promise)) return result;
    const done = (): void => {
      if (this.#turn === turn) this.#turn = undefined;
    };
    const turn: Promise<void> = result.then(done, done);
    this.#turn = turn;
    return result;
  }

  #read(target: Buffer, position: number | undefined): number | Promise<number> {
    this.#assertReadable();
    if (position !== undefined) return readAt(this.#context, this.#source, target, position);
    return this.#inTurn(() => {
      const reading = readAt(this.#context, this.#source, target, this.#position);
      if (typeof reading !== 'number') return reading.then((count) => this.#advance(count));
      return this.#advance(reading);
    });
  }

  #advance(count: number): number {
    this.#position += count;
    return count;
  }

  async #readRest(signal: AbortSignal | undefined): Promise<Buffer> {
    const content = await readRest(this.#context, this.#source, this.#position, signal);
    this.#advance(content.length);
    return content;
  }

  async #writeFile(data: unknown, { encoding, signal }: Options): Promise<void> {
    if (isSource(data)) {
      throwIfAborted(signal);
      await writeSource(data, { encoding, signal }, (bytes) => this.#writeAll(bytes, signal));
      return;
    }
    const bytes = contentOf(data, encoding);
    throwIfAborted(signal);
    await this.#writeAll(bytes, signal);
  }

  async #writeAll(bytes: Buffer, signal: AbortSignal | undefined): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      throwIfAborted(signal);
      done += await this.#write(done === 0 ? bytes : bytes.subarray(done), undefined);
    }
  }

  #write(bytes: Buffer, position: number | undefined): number | Promise<number> {
    this.#context.backend.assertUsable('write');
    if (!this.#writable) throw new FsError('EBADF', 'write');
    return this.#inTurn(() => this.#writeNow(bytes, position));
  }

  async #writeNow(bytes: Buffer, position: number | undefined): Promise<number> {
    const append = (this.#opened.flags & constants.O_APPEND) !== 0;
    const at = append ? undefined : (position ?? this.#position);
    const opened = this.#opened;
    const { offset, count } = await opened.ask(() => writeAt(this.#context, opened, bytes, at));
    // A write at a given position leaves the own one where it is, also when it went to the end (pwrite(2),
    // BUGS).
    if (position === undefined) this.#position = offset + count;
    return count;
  }

  async #setAttributes(syscall: string, change: Attributes): Promise<void> {
    assertWritable(this.#context, syscall);
    const opened = this.#opened;
    await opened.ask(() => {
      const how = { handle: opened.handle, follow: true, syscall };
      return this.#context.requests.request('setAttributes', { ...how, ...change });
    });
  }
}

/** What node throws for a closed handle: no system call was made, so no system error. */
function closedError(syscall: string): NodeJS.ErrnoException {
  return Object.assign(new Error('file closed'), { code: 'EBADF', syscall });
}

/** The results of a handle have no prototype, as node's. */
function nullObject<T extends object>(fields: T): T {
  return Object.assign(Object.create(null), fields);
}
