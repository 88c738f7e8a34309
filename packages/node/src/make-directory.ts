import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { type ErrorCode, FsError } from '@cluster-fs/transport';

/**
 * Makes a directory of this user's alone where it is missing, and those that it is in. The `recursive` of
 * node:fs tries for ever where a file system says ENOENT of what it lets nobody make, as /proc does.
 *
 * @throws FsError ENOTDIR when something else is there; others as mkdir(2)
 */
export function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (cause) {
    const { code = 'EIO' } = cause as NodeJS.ErrnoException;
    const parent = dirname(path);
    if (code === 'EEXIST' && statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
    if (code === 'ENOENT' && parent !== path && !existsSync(parent)) {
      makeDirectory(parent);
      makeDirectory(path);
      return;
    }
    throw new FsError(code === 'EEXIST' ? 'ENOTDIR' : (code as ErrorCode), 'mkdir', { path, cause });
  }
}
