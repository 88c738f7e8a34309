/** What is said of files that could not be moved to another node. */
import { FsError, type MoveFailure } from '@cluster-fs/transport';
import { type Output, printable } from './output.ts';
import { count } from './size.ts';

/** Throws when there are some. */
export function failures(out: Output, failed: readonly MoveFailure[]): void {
  for (const { path, why } of failed) out.say(out.colors.yellow(`${printable(path)} stays: ${why}`));
  if (failed.length > 0)
    throw new FsError('EIO', 'move', { why: `${count(failed.length, 'file')} could not be moved` });
}
