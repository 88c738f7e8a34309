/**
 * Pages that are the client's own until the coordinator gives them to a file: filled here, seen by nobody
 * else.
 *
 * INVARIANT: pages taken are given back or committed, whatever fails.
 */
import type { Run } from '@cluster-fs/transport';
import { pageSize } from '../segment/index.ts';
import { throwIfAborted } from './argument-errors.ts';
import type { Backend } from './backend.ts';
import { type Check, limits as copyLimits, type Piece, writePieces, writePiecesNow } from './data-file.ts';
import { type Term, throughRestarts } from './term.ts';

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
  { term, signal }: { readonly term: Term; readonly signal?: AbortSignal | undefined },
): Run[] | Promise<Run[]> {
  const check = () => {
    throwIfAborted(signal);
    term.check();
  };
  if (bytes.length > copyLimits.immediateBytes) return fillInBatches(backend, bytes, term, check);
  const taken = backend.takePages(pagesFor(bytes.length));
  return Array.isArray(taken)
    ? fillNow(backend, taken, bytes, term)
    : taken.then((runs) => fillNow(backend, runs, bytes, term));
}

function fillNow(backend: Backend, runs: Run[], bytes: Uint8Array, term: Term): Run[] {
  try {
    term.check();
    writePiecesNow(backend, piecesOfRuns(runs, bytes.length), bytes);
    return runs;
  } catch (error) {
    giveBack(backend, term, runs);
    throw error;
  }
}

async function fillInBatches(backend: Backend, bytes: Uint8Array, term: Term, check: Check): Promise<Run[]> {
  const filled: Run[] = [];
  let asked: Promise<Run[]> | undefined = takeBatch(backend, bytes.length);
  try {
    for (let at = 0; at < bytes.length; at += batchBytes) {
      check();
      const runs: Run[] = (await asked) ?? [];
      filled.push(...runs);
      const part = bytes.subarray(at, at + batchBytes);
      asked = takeBatch(backend, bytes.length - at - part.length);
      await writePieces(backend, piecesOfRuns(runs, part.length), part, check);
    }
    return filled;
  } catch (error) {
    giveBack(backend, term, filled);
    // What was asked for ahead is given back when it comes; when it does not come, nothing was taken.
    asked?.then(
      (runs) => giveBack(backend, term, runs),
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

/** A node that was started again does not know the pages of before: it has taken them back itself. */
export function giveBack(backend: Backend, term: Term, runs: readonly Run[]): void {
  if (runs.length > 0 && !term.isOver()) backend.givePages(runs);
}

/** Has filled pages committed, or gives them back. */
export function withOwnPages<T>(
  backend: Backend,
  fill: (term: Term) => Run[] | Promise<Run[]>,
  commit: (runs: readonly Run[]) => Promise<T>,
): Promise<T> {
  return throughRestarts(backend, async (term) => {
    const filling = fill(term);
    const runs = Array.isArray(filling) ? filling : await filling;
    try {
      return await commit(runs);
    } catch (error) {
      giveBack(backend, term, runs);
      throw error;
    }
  });
}
