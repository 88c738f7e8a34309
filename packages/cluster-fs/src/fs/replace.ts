/**
 * New content for a file, in one step, from memory or from a source that yields it.
 *
 *   source ──chunks──▶ pages of this session, filled ──put──▶ the file: old before, new after
 *                                    └──the source fails, abort──▶ given back, nothing has changed
 */
import { constants } from 'node:fs';
import type { Run } from '@cluster-fs/transport';
import { pageSize } from '../segment/index.ts';
import { throwIfAborted } from './argument-errors.ts';
import { modeOf, pathOf } from './arguments.ts';
import { contentOf, isSource, type Source, writeSource } from './content.ts';
import { assertWritable, type Context } from './context.ts';
import { fillOwnPages } from './own-pages.ts';
import { limits } from './writing.ts';

export interface ReplaceOptions {
  /** Permissions of a file that is made, less the umask; default 0o666. One that is there keeps its own. */
  readonly mode?: number;
  /** Modification time to give the file, in milliseconds since 1970; default now. */
  readonly mtimeMs?: number;
  /** EEXIST when something is there already. */
  readonly exclusive?: boolean;
  /** Gives up before the content is published. */
  readonly signal?: AbortSignal;
}

export type ReplaceData = string | Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

export async function replace(
  context: Context,
  path: string,
  data: ReplaceData,
  { mode, mtimeMs, exclusive = false, signal }: ReplaceOptions = {},
): Promise<void> {
  const { backend, umask } = context;
  const name = pathOf(path);
  const permissions = modeOf(mode, 0o666) & 0o7777 & ~umask;
  assertWritable(context, 'open', name);
  throwIfAborted(signal);
  const source = isSource(data) ? data : [contentOf(data, 'utf8')];
  const runs: Run[] = [];
  const { O_CREAT, O_EXCL, O_TRUNC, O_WRONLY } = constants;
  const flags = O_WRONLY | O_CREAT | O_TRUNC | (exclusive ? O_EXCL : 0);
  try {
    const size = await fillFrom(context, source, { runs, signal });
    throwIfAborted(signal);
    await backend.request('put', { path: name, flags, mode: permissions, size, runs, mtimeMs });
  } catch (error) {
    if (runs.length > 0) backend.givePages(runs);
    throw error;
  }
}

/**
 * Adds the pages it fills to `runs`, also when it fails; resolves to how many bytes came. Chunks of whole pages
 * are copied from where they are, others are gathered first: only the last page may be filled in part.
 */
async function fillFrom(
  { backend }: Context,
  source: Source,
  { runs, signal }: { runs: Run[]; signal: AbortSignal | undefined },
): Promise<number> {
  let size = 0;
  let gathered: Buffer | undefined;
  let count = 0;
  const fill = async (bytes: Uint8Array): Promise<void> => {
    const filled = fillOwnPages(backend, bytes, signal);
    runs.push(...(Array.isArray(filled) ? filled : await filled));
  };
  await writeSource(source, { encoding: 'utf8', signal }, async (chunk) => {
    size += chunk.length;
    let rest = chunk;
    if (count === 0) {
      const whole = chunk.length - (chunk.length % pageSize);
      if (whole > 0) await fill(chunk.subarray(0, whole));
      rest = chunk.subarray(whole);
    }
    while (rest.length > 0) {
      gathered ??= Buffer.allocUnsafeSlow(limits.writeBytes);
      const part = rest.copy(gathered, count);
      count += part;
      rest = rest.subarray(part);
      if (count === gathered.length) {
        await fill(gathered);
        count = 0;
      }
    }
  });
  if (gathered !== undefined && count > 0) await fill(gathered.subarray(0, count));
  return size;
}
