/**
 * Changing what is in a file. The bytes are copied once, from the caller's memory into the segment; a few go
 * by the node, which is quicker than to ask it twice.
 *
 *   whole file   own pages, filled, then `put`: readers see the old content or the new
 *   new pages    own pages, filled, then `attachPages`: one request
 *   short        `write`: the node stores the bytes, one request
 *   in place     `writeBegin`, store, `writeEnd`: the layout stands still in between
 */
import { constants } from 'node:fs';
import { type FieldsOf, FsError, type Requests, shortWriteBytes } from '@cluster-fs/transport';
import { InodeCopy, pageSize, readInode } from '../segment/index.ts';
import { throwIfAborted } from './argument-errors.ts';
import type { Context } from './context.ts';
import { limits as copyLimits, writePieces, writePiecesNow } from './data-file.ts';
import { fillOwnPages, limits as pageLimits, pagesFor, withOwnPages } from './own-pages.ts';
import { piecesOf } from './reading.ts';
import { termOf } from './term.ts';

export const limits = {
  /** What is stored by one request at most; a longer write is several, and others may write between. */
  writeBytes: pageLimits.batchPages * pageSize,
  /** Times that a write in place is begun again because the node took its grant back. */
  grantAttempts: 20,
  /** Holes that one message can name. What a file has more of them becomes pages of zeros. */
  holes: 65_536,
} as const;

/** Whether a whole-file write with these flags replaces everything, so that it can be one `put`. */
export const replacesAll = (flags: number): boolean =>
  (flags & constants.O_TRUNC) !== 0 &&
  (flags & constants.O_CREAT) !== 0 &&
  (flags & constants.O_APPEND) === 0 &&
  (flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0;

export interface Put {
  readonly path: string;
  readonly flags: number;
  readonly mode: number;
  readonly mtimeMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Makes `bytes` the whole content of a file, in one step. */
export async function putWhole({ backend, requests }: Context, bytes: Uint8Array, put: Put): Promise<void> {
  const { signal, ...request } = put;
  await withOwnPages(
    backend,
    (term) => fillOwnPages(backend, bytes, { term, signal }),
    (runs) => publish(requests, { ...request, size: bytes.length, runs }, signal),
  );
}

/** Asks the node to make the pages the file's. An abort takes effect as long as it waits for somebody. */
export async function publish(
  requests: Context['requests'],
  put: FieldsOf<Requests['put']['fields']>,
  signal: AbortSignal | undefined,
): Promise<void> {
  throwIfAborted(signal);
  try {
    await requests.request('put', put, signal === undefined ? undefined : { signal });
  } catch (error) {
    const isOther = error instanceof FsError && error.code !== 'ECANCELED';
    if (!isOther) throwIfAborted(signal);
    throw error;
  }
}

/** A file open for writing. */
export interface Target {
  /** The node's number of the handle. */
  readonly handle: number;
  readonly ino: number;
}

/** Where a write went: `offset` is where it began, which an append only knows when it is done. */
export interface Written {
  readonly offset: number;
  readonly count: number;
}

/**
 * Stores `bytes` at `offset`, or at the end of the file without one. What is longer than one request can be
 * cut short by an error: then the count tells how much is in the file, as with write(2).
 */
export function writeAt(
  context: Context,
  target: Target,
  bytes: Uint8Array,
  offset: number | undefined,
): Promise<Written> {
  return bytes.length <= limits.writeBytes
    ? writeOnce(context, target, bytes, offset)
    : writeInParts(context, target, bytes, offset);
}

async function writeInParts(
  context: Context,
  target: Target,
  bytes: Uint8Array,
  offset: number | undefined,
): Promise<Written> {
  let first = offset;
  let count = 0;
  while (count < bytes.length) {
    const part = bytes.subarray(count, count + limits.writeBytes);
    const at = offset === undefined ? undefined : offset + count;
    try {
      const written = await writeOnce(context, target, part, at);
      first ??= written.offset;
      count += written.count;
    } catch (error) {
      if (count === 0) throw error;
      break;
    }
  }
  return { offset: first ?? 0, count };
}

function writeOnce(
  context: Context,
  target: Target,
  bytes: Uint8Array,
  offset: number | undefined,
): Promise<Written> {
  return offset !== undefined && isBehindAllPages(context, target, offset)
    ? attach(context, target, bytes, offset)
    : overwrite(context, target, bytes, offset);
}

/**
 * An append is never that: only the node knows where the end is when it comes to it.
 */
function isBehindAllPages({ backend }: Context, { ino }: Target, offset: number): boolean {
  if (offset % pageSize !== 0) return false;
  const inode = new InodeCopy();
  return readInode(backend.segment, ino, inode) && offset >= pagesFor(inode.size) * pageSize;
}

async function attach(context: Context, target: Target, bytes: Uint8Array, offset: number): Promise<Written> {
  const { backend, requests } = context;
  const { length } = bytes;
  try {
    await withOwnPages(
      backend,
      (term) => fillOwnPages(backend, bytes, { term }),
      (runs) => requests.request('attachPages', { handle: target.handle, offset, length, runs }),
    );
  } catch (error) {
    // Somebody else has made pages there meanwhile, or the file has some behind its end.
    if (error instanceof FsError && error.code === 'EEXIST') return overwrite(context, target, bytes, offset);
    throw error;
  }
  return { offset, count: length };
}

/** Into pages that are there, or may be; again when its grant was broken. */
async function overwrite(
  context: Context,
  target: Target,
  bytes: Uint8Array,
  offset: number | undefined,
): Promise<Written> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await (bytes.length <= shortWriteBytes
        ? writeShort(context, target, bytes, offset)
        : storeUnderGrant(context, target, bytes, offset));
    } catch (error) {
      const broken = error instanceof FsError && error.code === 'ESTALE';
      if (!broken || attempt === limits.grantAttempts) throw error;
    }
  }
}

async function writeShort(
  { requests }: Context,
  { handle }: Target,
  bytes: Uint8Array,
  wanted: number | undefined,
): Promise<Written> {
  const { offset } = await requests.request('write', { handle, offset: wanted, bytes });
  return { offset, count: bytes.length };
}

async function storeUnderGrant(
  { backend, requests }: Context,
  { handle }: Target,
  bytes: Uint8Array,
  wanted: number | undefined,
): Promise<Written> {
  const { length } = bytes;
  const { check } = termOf(backend);
  const { grant, offset, extents } = await requests.request('writeBegin', { handle, offset: wanted, length });
  let written = 0;
  let where = offset;
  try {
    const pieces = piecesOf(extents, offset, length);
    check();
    if (length <= copyLimits.immediateBytes) writePiecesNow(backend, pieces, bytes);
    else await writePieces(backend, pieces, bytes, check);
    written = length;
  } finally {
    // Also after a failed store: the grant must not hold others up.
    where = (await requests.request('writeEnd', { grant, written })).offset;
  }
  return { offset: where, count: length };
}
