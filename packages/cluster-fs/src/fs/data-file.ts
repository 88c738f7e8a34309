/**
 * Moving bytes between buffers and `data`: positioned reads and writes, synchronous when they are small, in
 * libuv's pool when they are large.
 *
 * A small copy takes less time than a trip to the pool and back. A large one is cut into pieces, two under
 * way at a time: that is what one reader needs to keep two processors busy, and leaves threads of the pool to
 * others.
 */
import { read, readSync, write, writeSync } from 'node:fs';
import { type ErrorCode, FsError } from '@cluster-fs/transport';
import type { Backend } from './backend.ts';

export const limits = {
  /** Up to here bytes are copied on the spot: about ten microseconds. */
  immediateBytes: 64 * 1024,
  /** One system call of the pool: an abort signal is looked at between two. */
  pieceBytes: 1024 * 1024,
  /** Pieces under way at a time. */
  pieces: 2,
} as const;

/**
 * A stretch of bytes: `at` in the caller's buffer, `from` in `data`; without `from` it is a hole, all zeros.
 */
export interface Piece {
  readonly at: number;
  readonly from: number | undefined;
  readonly length: number;
}

/** Fills `target` from `data`. */
export function readPiecesNow(backend: CopyBackend, pieces: readonly Piece[], target: Uint8Array): void {
  const { dataFd, access } = backend;
  if (!access.begin()) throw readStale();
  try {
    for (const { at, from, length } of pieces) {
      if (from === undefined) target.fill(0, at, at + length);
      else {
        for (let done = 0; done < length; ) {
          done += progress(
            'read',
            callSync('read', () => readSync(dataFd, target, at + done, length - done, from + done)),
          );
        }
      }
    }
  } finally {
    access.end();
  }
}

/** Stores `source` into `data`. Requires: no piece is a hole. */
export function writePiecesNow(backend: CopyBackend, pieces: readonly Piece[], source: Uint8Array): void {
  const { dataFd, access } = backend;
  if (!access.begin()) throw storeStale();
  try {
    for (const { at, from, length } of pieces) {
      for (let done = 0; done < length; ) {
        const position = (from as number) + done;
        done += progress(
          'write',
          callSync('write', () => writeSync(dataFd, source, at + done, length - done, position)),
        );
      }
    }
  } finally {
    access.end();
  }
}

/** Called before each piece; throws to stop. */
export type Check = () => void;

type CopyBackend = Pick<Backend, 'dataFd' | 'access'>;

const startedAgain = 'the node was started again';
/** Its segment is found when the event loop turns. */
const readStale = (): FsError => new FsError('EAGAIN', 'read', { why: startedAgain });
const storeStale = (): FsError => new FsError('ESTALE', 'write', { why: startedAgain });

/** As readPiecesNow, in the pool. */
export function readPieces(
  backend: CopyBackend,
  pieces: readonly Piece[],
  target: Uint8Array,
  check: Check,
): Promise<void> {
  const { dataFd, access } = backend;
  if (!access.begin()) return Promise.reject(readStale());
  const filled = inPool(cut(pieces), check, async ({ at, from, length }) => {
    if (from === undefined) target.fill(0, at, at + length);
    else {
      for (let done = 0; done < length; ) {
        const position = from + done;
        const count = await call('read', (end) => {
          read(dataFd, target, at + done, length - done, position, end);
        });
        done += progress('read', count);
      }
    }
  });
  access.pooled(filled);
  return filled;
}

/** As writePiecesNow, in the pool. */
export function writePieces(
  backend: CopyBackend,
  pieces: readonly Piece[],
  source: Uint8Array,
  check: Check,
): Promise<void> {
  const { dataFd, access } = backend;
  if (!access.begin()) return Promise.reject(storeStale());
  const stored = inPool(cut(pieces), check, async ({ at, from, length }) => {
    for (let done = 0; done < length; ) {
      const position = (from as number) + done;
      const count = await call('write', (end) => {
        write(dataFd, source, at + done, length - done, position, end);
      });
      done += progress('write', count);
    }
  });
  access.pooled(stored);
  return stored;
}

/**
 * Runs `work` for every piece, a few at a time; ends with the first error, when nothing is under way any
 * more.
 */
async function inPool(
  pieces: Iterator<Piece>,
  check: Check,
  work: (piece: Piece) => Promise<void>,
): Promise<void> {
  let failed = false;
  const lane = async (): Promise<void> => {
    try {
      for (let next = pieces.next(); next.done !== true && !failed; next = pieces.next()) {
        check();
        await work(next.value);
      }
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: limits.pieces }, lane));
  for (const result of lanes) if (result.status === 'rejected') throw result.reason;
}

function* cut(pieces: readonly Piece[]): Generator<Piece, undefined> {
  for (const { at, from, length } of pieces) {
    for (let done = 0; done < length; done += limits.pieceBytes) {
      const part = Math.min(limits.pieceBytes, length - done);
      yield { at: at + done, from: from === undefined ? undefined : from + done, length: part };
    }
  }
}

type Done = (error: NodeJS.ErrnoException | null, count: number) => void;

const call = (syscall: 'read' | 'write', start: (done: Done) => void): Promise<number> =>
  new Promise((resolve, reject) => {
    start((error, count) => (error === null ? resolve(count) : reject(asOurs(error, syscall))));
  });

function callSync(syscall: 'read' | 'write', run: () => number): number {
  try {
    return run();
  } catch (error) {
    throw asOurs(error as NodeJS.ErrnoException, syscall);
  }
}

/**
 * An error of the kernel about `data` is one about the file: the path and number of `data` are nobody's
 * concern.
 */
function asOurs(error: NodeJS.ErrnoException, syscall: string): Error {
  return error.code === undefined ? error : new FsError(error.code as ErrorCode, syscall, { cause: error });
}

/** `data` is as long as the superblock says, so a call that moves nothing means that it is damaged. */
function progress(syscall: string, count: number): number {
  if (count === 0)
    throw new FsError('EIO', syscall, { why: 'the data file is shorter than the segment says' });
  return count;
}
