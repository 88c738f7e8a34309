/**
 * Streams. They are node's own ReadStream and WriteStream, which can work over other file systems by their
 * `fs` option; here is only the handful of calls they make. So options, events and errors are node's in every
 * detail.
 */
import { createReadStream, createWriteStream, type ReadStream, type WriteStream } from 'node:fs';
import type { ReadableByteStreamController, ReadableStream } from 'node:stream/web';
import { invalidType, nodeError } from './argument-errors.ts';
import { flagsOf, modeOf, optionsOf, pathOf } from './arguments.ts';
import type { Context } from './context.ts';
import type { FileHandle } from './handle.ts';

/** Options of node's streams, but `fs`. */
export interface StreamOptions {
  readonly flags?: string;
  readonly mode?: number;
  readonly encoding?: BufferEncoding;
  readonly autoClose?: boolean;
  readonly emitClose?: boolean;
  readonly start?: number;
  readonly end?: number;
  readonly highWaterMark?: number;
  readonly flush?: boolean;
  readonly signal?: AbortSignal;
  readonly fd?: FileHandle;
}

type Opener = (context: Context, path: string, flags: number, mode: number) => Promise<FileHandle>;
type Callback = (error: Error | null, result?: unknown, buffer?: unknown) => void;

/** The calls of a stream, on one handle: the one it was given, or the one it opens first. */
function callsOn(
  given: FileHandle | undefined,
  open: (path: unknown, flags: unknown, mode: unknown) => Promise<FileHandle>,
) {
  let handle = given as FileHandle;
  const settle = (work: Promise<unknown>, done: Callback) => {
    work.then(
      (result) => done(null, result),
      (error) => done(error),
    );
  };
  return {
    open: (path: unknown, flags: unknown, mode: unknown, done: Callback) => {
      open(path, flags, mode).then(
        (opened) => {
          handle = opened;
          done(null, opened.fd);
        },
        (error) => done(error),
      );
    },
    read: (
      _fd: number,
      buffer: Buffer,
      offset: number,
      length: number,
      position: unknown,
      done: Callback,
    ) => {
      handle.read(buffer, offset, length, position).then(
        ({ bytesRead }) => done(null, bytesRead, buffer),
        (error) => done(error, 0, buffer),
      );
    },
    write: (
      _fd: number,
      buffer: Buffer,
      offset: number,
      length: number,
      position: unknown,
      done: Callback,
    ) => {
      handle.write(buffer, offset, length, position).then(
        ({ bytesWritten }) => done(null, bytesWritten, buffer),
        (error) => done(error, 0, buffer),
      );
    },
    writev: (_fd: number, buffers: Buffer[], position: number | null, done: Callback) => {
      handle.writev(buffers, position).then(
        ({ bytesWritten }) => done(null, bytesWritten, buffers),
        (error) => done(error, 0, buffers),
      );
    },
    fsync: (_fd: number, done: Callback) => settle(handle.sync(), done),
    close: (_fd: number, done: Callback) => {
      if (given !== undefined) given.release();
      settle(handle.close(), done);
    },
  };
}

/** fs.createReadStream. The arguments are checked at once; opening fails with an 'error' event. */
export function openReadStream(context: Context, open: Opener, path: unknown, options?: unknown): ReadStream {
  const { fd, ...rest } = streamOptionsOf(options);
  if (fd !== undefined && fd !== null) return readStreamOf(handleOf(fd), rest);
  return createReadStream(path as string, { ...rest, fs: callsOn(undefined, opener(context, open)) });
}

/** fs.createWriteStream, likewise. */
export function openWriteStream(
  context: Context,
  open: Opener,
  path: unknown,
  options?: unknown,
): WriteStream {
  const { fd, ...rest } = streamOptionsOf(options);
  if (fd !== undefined && fd !== null) return writeStreamOf(handleOf(fd), rest);
  return createWriteStream(path as string, { ...rest, fs: callsOn(undefined, opener(context, open)) });
}

/** Node checks what it finds in them; here only an encoding that stands for all options is unfolded. */
const streamOptionsOf = (options: unknown): Omit<StreamOptions, 'fd'> & { readonly fd?: unknown } =>
  optionsOf(options) as StreamOptions;

const opener = (context: Context, open: Opener) => async (path: unknown, flags: unknown, mode: unknown) =>
  open(context, pathOf(path), flagsOf(flags), modeOf(mode, 0o666));

function handleOf(fd: unknown): FileHandle {
  if (typeof fd === 'object' && fd !== null && 'retain' in fd) return fd as FileHandle;
  throw invalidType('options.fd', 'an instance of FileHandle', fd);
}

/** handle.createReadStream */
export function readStreamOf(handle: FileHandle, options?: unknown): ReadStream {
  const fs = callsOn(handle, noOpen);
  const stream = createReadStream('', { ...streamOptionsOf(options), fd: handle.fd, fs });
  return closedWith(handle, stream);
}

/** handle.createWriteStream */
export function writeStreamOf(handle: FileHandle, options?: unknown): WriteStream {
  const fs = callsOn(handle, noOpen);
  const stream = createWriteStream('', { ...streamOptionsOf(options), fd: handle.fd, fs });
  return closedWith(handle, stream);
}

/** The stream has the handle in use until it closes it, and ends when the handle is closed. */
function closedWith<S extends ReadStream | WriteStream>(handle: FileHandle, stream: S): S {
  handle.retain();
  handle.on('close', () => stream.close());
  return stream;
}

const noOpen = (): Promise<FileHandle> => Promise.reject(new Error('the stream has its handle already'));

/** handle.readableWebStream: bytes from where the handle stands. Cancelled when the handle is closed. */
export function readableWebStream(handle: FileHandle): ReadableStream {
  if (handle.fd === -1) {
    throw nodeError(Error, 'ERR_INVALID_STATE', 'Invalid state: The FileHandle is closed');
  }
  let ended = false;
  const end = (): void => {
    if (!ended) handle.release();
    ended = true;
  };
  const stream = new (process.getBuiltinModule('node:stream/web').ReadableStream)({
    type: 'bytes',
    autoAllocateChunkSize: 65_536,
    async pull(controller: ReadableByteStreamController) {
      const request = controller.byobRequest;
      if (request === null) return;
      const { bytesRead } = await handle.read(request.view);
      if (bytesRead === 0) {
        end();
        controller.close();
      }
      request.respond(bytesRead);
    },
    cancel: end,
  });
  handle.retain();
  handle.once('close', () => {
    stream.cancel().catch(end);
  });
  return stream;
}
