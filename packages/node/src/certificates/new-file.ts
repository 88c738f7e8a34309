/** Files that were not there before, whole and on the disk, or not at all. */
import { mkdir, open, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FsError } from '@cluster-fs/transport';

interface NewFile {
  readonly mode: number;
  /** What to say when it is there. */
  readonly why: string;
}

/** @throws FsError EEXIST when it is there; others as open(2) and write(2). */
export async function writeNewFile(path: string, text: string, { mode, why }: NewFile): Promise<void> {
  const file = await openNew(path, mode, why);
  try {
    await file.writeFile(text);
    await file.sync();
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

/**
 * Makes a directory where it is missing, and those that it is in. The `recursive` of node:fs tries for ever
 * where a file system says ENOENT of what it lets nobody make, as /proc does.
 *
 * @throws as mkdir(2)
 */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const parent = dirname(path);
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return;
    if (code !== 'ENOENT' || parent === path || (await isThere(parent))) throw error;
    await makeDirectory(parent);
    await mkdir(path, { mode: 0o700 });
  }
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

async function openNew(path: string, mode: number, why: string) {
  try {
    return await open(path, 'wx', mode);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    throw new FsError('EEXIST', 'open', { path, why, cause });
  }
}
