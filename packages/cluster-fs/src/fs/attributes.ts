/** Modes, owners and times: changing them, and what access and statfs tell. */
import { counter, InodeCopy, layout, pageSize } from '../segment/index.ts';
import { nodeError } from './argument-errors.ts';
import { modeOf, ownerOf, pathOf, timeOf } from './arguments.ts';
import { assertWritable, type Context, inodeOf } from './context.ts';

/**
 * The mode of access(2) or copyFile, 0 to 7. Its errors come from native code in node, hence their wording.
 */
export function accessMaskOf(mode: unknown): number {
  if (mode === undefined || mode === null) return 0;
  if (typeof mode !== 'number') {
    throw nodeError(TypeError, 'ERR_INVALID_ARG_TYPE', 'mode must be int32 or null/undefined');
  }
  if (mode < 0 || mode > 7) {
    throw nodeError(RangeError, 'ERR_OUT_OF_RANGE', 'mode is out of range: >= 0 && <= 7');
  }
  return Math.trunc(mode);
}

/** fs.StatFs of the segment: blocks are its pages, files its inodes. */
export class StatFs<N extends number | bigint = number> {
  readonly type: N;
  readonly bsize: N;
  readonly blocks: N;
  readonly bfree: N;
  readonly bavail: N;
  readonly files: N;
  readonly ffree: N;

  constructor(fields: readonly N[]) {
    [this.type, this.bsize, this.blocks, this.bfree, this.bavail, this.files, this.ffree] = fields as [
      N,
      N,
      N,
      N,
      N,
      N,
      N,
    ];
  }
}

export function statfsOf(
  context: Context,
  path: unknown,
  options: { readonly bigint?: boolean | undefined } = {},
): StatFs | StatFs<bigint> {
  const { bigint } = options;
  inodeOf(context, pathOf(path), 'statfs', new InodeCopy());
  const { segment } = context.backend;
  const free = counter(segment, 'freePages');
  const fields = [
    layout.magic,
    pageSize,
    segment.pageCount,
    free,
    free,
    segment.inodeCount - 1,
    counter(segment, 'freeInodes'),
  ];
  return bigint ? new StatFs(fields.map(BigInt)) : new StatFs(fields);
}

export interface Attributes {
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly atimeMs?: number | undefined;
  readonly mtimeMs?: number | undefined;
  readonly size?: number | undefined;
}

/** Asks for a change of the file at `path`; errors name `syscall`. */
export async function setAttributes(
  context: Context,
  path: string,
  how: { readonly syscall: string; readonly follow: boolean },
  change: Attributes,
): Promise<void> {
  assertWritable(context, how.syscall, path);
  await context.requests.request('setAttributes', { path, ...how, ...change });
}

export async function chmod(context: Context, path: unknown, mode: unknown): Promise<void> {
  const name = pathOf(path);
  await setAttributes(context, name, { syscall: 'chmod', follow: true }, { mode: modeOf(mode) & 0o7777 });
}

export async function chown(
  context: Context,
  syscall: 'chown' | 'lchown',
  path: unknown,
  uid: unknown,
  gid: unknown,
): Promise<void> {
  const name = pathOf(path);
  const change = { uid: ownerOf(uid, 'uid'), gid: ownerOf(gid, 'gid') };
  await setAttributes(context, name, { syscall, follow: syscall === 'chown' }, change);
}

/** Times are Dates, or seconds since 1970 as numbers or strings. */
export async function utimes(
  context: Context,
  syscall: 'utime' | 'lutime',
  path: unknown,
  atime: unknown,
  mtime: unknown,
): Promise<void> {
  const name = pathOf(path);
  const change = { atimeMs: timeOf(atime), mtimeMs: timeOf(mtime) };
  await setAttributes(context, name, { syscall, follow: syscall === 'utime' }, change);
}
