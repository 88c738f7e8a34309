/** Files that were not there before, whole and on the disk, or not at all. */
import { open, rm } from 'node:fs/promises';
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

async function openNew(path: string, mode: number, why: string) {
  try {
    return await open(path, 'wx', mode);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    throw new FsError('EEXIST', 'open', { path, why, cause });
  }
}
