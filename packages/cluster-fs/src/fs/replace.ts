/**
 * New content for a file, in one step, from memory or from a source that yields it.
 *
 *   source ──chunks──▶ pages of the client, filled ──put──▶ the file: old before, new after
 *                                    └──the source fails, abort──▶ given back, nothing has changed
 */
import { constants } from 'node:fs';
import type { Hole, Run } from '@cluster-fs/transport';
import { pageSize } from '../segment/index.ts';
import { aboutPath } from './about-path.ts';
import { throwIfAborted } from './argument-errors.ts';
import { modeOf, pathOf } from './arguments.ts';
import { contentOf, isSource, type Source, writeSource } from './content.ts';
import { assertWritable, type Context } from './context.ts';
import { fillOwnPages, giveBack, pagesFor } from './own-pages.ts';
import { termOf } from './term.ts';
import { limits, type Put, publish, putWhole } from './writing.ts';

export interface ReplaceOptions {
  /** Permissions of a file that is made, less the umask; default 0o666. One that is there keeps its own. */
  readonly mode?: number | undefined;
  /** Modification time to give the file, in milliseconds since 1970; default now. */
  readonly mtimeMs?: number | undefined;
  /** EEXIST when something is there already. */
  readonly exclusive?: boolean;
  /** Whether whole pages of zeros of a source become holes: they take no memory. */
  readonly sparse?: boolean;
  /** Gives up before the content is published. */
  readonly signal?: AbortSignal | undefined;
}

/** Text is UTF-8; of a view, the bytes under it. */
export type ReplaceData = string | ArrayBufferView | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

export async function replace(
  context: Context,
  path: string,
  data: ReplaceData,
  { mode, mtimeMs, exclusive = false, sparse = false, signal }: ReplaceOptions = {},
): Promise<void> {
  const { O_CREAT, O_EXCL, O_TRUNC, O_WRONLY } = constants;
  const put = {
    path: pathOf(path),
    flags: O_WRONLY | O_CREAT | O_TRUNC | (exclusive ? O_EXCL : 0),
    mode: modeOf(mode, 0o666) & 0o7777 & ~context.umask,
    mtimeMs,
    signal,
  };
  assertWritable(context, 'open', put.path);
  throwIfAborted(signal);
  try {
    if (isSource(data)) await putSource(context, data, { ...put, sparse });
    else await putWhole(context, contentOf(data, 'utf8'), put);
  } catch (error) {
    // A lack of pages is not about a path; here it is known for which file they were wanted.
    throw aboutPath(error, put.path);
  }
}

/**
 * Throws ESTALE when the node is started again before the put: the pages are gone, and what the source gave
 * cannot be had again.
 */
async function putSource(
  { backend, requests }: Context,
  source: Source,
  { signal, sparse, ...request }: Put & { readonly sparse: boolean },
): Promise<void> {
  const term = termOf(backend);
  const runs: Run[] = [];
  const holes: Hole[] = [];
  let filePage = 0;
  const fill = async (bytes: Uint8Array): Promise<void> => {
    for (const part of sparse ? partsOf(bytes) : [{ bytes, isHole: false }]) {
      const count = pagesFor(part.bytes.length);
      if (part.isHole && holes.length < limits.holes) holes.push({ filePage, count });
      else runs.push(...(await fillOwnPages(backend, part.bytes, { term, signal })));
      filePage += count;
    }
  };
  try {
    const size = await gather(source, fill, signal);
    term.check();
    await publish(requests, { ...request, size, runs, holes }, signal);
  } catch (error) {
    giveBack(backend, term, runs);
    throw error;
  }
}

const zeros = Buffer.alloc(pageSize);

/** The bytes in parts: pages that are all zeros, and others. */
function partsOf(bytes: Uint8Array): { bytes: Uint8Array; isHole: boolean }[] {
  const isZero = (at: number): boolean => {
    const page = bytes.subarray(at, at + pageSize);
    return zeros.compare(page, 0, page.length, 0, page.length) === 0;
  };
  const parts: { bytes: Uint8Array; isHole: boolean }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const start = at;
    const isHole = isZero(at);
    do at += pageSize;
    while (at < bytes.length && isZero(at) === isHole);
    parts.push({ bytes: bytes.subarray(start, at), isHole });
  }
  return parts;
}

/**
 * Hands everything that comes to `fill` in whole pages, but for the last, and resolves to how much it was.
 * What comes as whole pages is handed on where it is; the rest is gathered first.
 */
async function gather(
  source: Source,
  fill: (bytes: Uint8Array) => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<number> {
  let size = 0;
  let gathered: Buffer | undefined;
  let count = 0;
  await writeSource(source, { encoding: 'utf8', signal }, async (chunk) => {
    size += chunk.length;
    const whole = count === 0 ? chunk.length - (chunk.length % pageSize) : 0;
    if (whole > 0) await fill(chunk.subarray(0, whole));
    for (let rest = chunk.subarray(whole); rest.length > 0; ) {
      gathered = withRoom(gathered, count, rest.length);
      const part = rest.copy(gathered, count);
      rest = rest.subarray(part);
      count += part;
      if (count < limits.writeBytes) continue;
      await fill(gathered);
      count = 0;
    }
  });
  if (gathered !== undefined && count > 0) await fill(gathered.subarray(0, count));
  return size;
}

/** A buffer with room for `more` bytes behind the first `count`, as far as one write may go. */
function withRoom(buffer: Buffer | undefined, count: number, more: number): Buffer {
  const wanted = Math.min(count + more, limits.writeBytes);
  if (buffer !== undefined && buffer.length >= wanted) return buffer;
  // Twice as much each time: a source of many small chunks does not copy them over and over.
  const length = Math.min(Math.max(2 * (buffer?.length ?? 0), wanted), limits.writeBytes);
  const larger = Buffer.allocUnsafeSlow(length);
  buffer?.copy(larger, 0, 0, count);
  return larger;
}
