/**
 * Pages that are this session's own until the coordinator gives them to a file: filled here, seen by nobody
 * else.
 *
 * INVARIANT: pages taken are given back or committed, whatever fails.
 */
import type { Run } from '@cluster-fs/transport';
import { pageSize } from '../segment/index.ts';
import { throwIfAborted } from './argument-errors.ts';
import type { Backend } from './backend.ts';
import { limits as copyLimits, type Piece, writePieces, writePiecesNow } from './data-file.ts';

export const limits = {
  /**
   * Pages asked for at a time. The node allocates the memory before it answers, and serves nobody else
   * meanwhile; and while it makes one batch the batch before is filled.
   */
  batchPages: 4096,
} as const;
const batchBytes = limits.batchPages * pageSize;

export const pagesFor = (bytes: number): number => Math.ceil(bytes / pageSize);

/** The bytes of pages in order, `length` of them. */
export function piecesOfRuns(runs: readonly Run[], length: number): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  for (const { page, count } of runs) {
    const part = Math.min(count * pageSize, length - at);
    pieces.push({ at, from: page * pageSize, length: part });
    at += part;
  }
  return pieces;
}

/**
 * Takes pages for `bytes` and stores them there. At once when they are few and the session has pages left.
 */
export function fillOwnPages(
  backend: Backend,
  bytes: Uint8Array,
  signal?: AbortSignal,
): Run[] | Promise<Run[]> {
  if (bytes.length > copyLimits.immediateBytes) return fillInBatches(backend, bytes, signal);
  const taken = backend.takePages(pagesFor(bytes.length));
  return Array.isArray(taken)
    ? fillNow(backend, taken, bytes)
    : taken.then((runs) => fillNow(backend, runs, bytes));
}

function fillNow(backend: Backend, runs: Run[], bytes: Uint8Array): Run[] {
  try {
    writePiecesNow(backend.dataFd, piecesOfRuns(runs, bytes.length), bytes);
    return runs;
  } catch (error) {
    backend.givePages(runs);
    throw error;
  }
}

async function fillInBatches(
  backend: Backend,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<Run[]> {
  const filled: Run[] = [];
  let asked: Promise<Run[]> | undefined = takeBatch(backend, bytes.length);
  try {
    for (let at = 0; at < bytes.length; at += batchBytes) {
      throwIfAborted(signal);
      const runs: Run[] = (await asked) ?? [];
      filled.push(...runs);
      const part = bytes.subarray(at, at + batchBytes);
      asked = takeBatch(backend, bytes.length - at - part.length);
      await writePieces(backend.dataFd, piecesOfRuns(runs, part.length), part, signal);
    }
    return filled;
  } catch (error) {
    if (filled.length > 0) backend.givePages(filled);
    // The batch that was asked for ahead is given back when it comes; when it does not come, nothing was
    // taken.
    asked?.then(
      (runs) => backend.givePages(runs),
      () => undefined,
    );
    throw error;
  }
}

function takeBatch(backend: Backend, bytesLeft: number): Promise<Run[]> | undefined {
  if (bytesLeft <= 0) return undefined;
  const taken = Promise.resolve(backend.takePages(pagesFor(Math.min(bytesLeft, batchBytes))));
  // Asked ahead: until it is awaited its failure must not count as unhandled.
  taken.catch(() => undefined);
  return taken;
}
