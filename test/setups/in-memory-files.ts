/** What a process keeps in shared memory, so that a setup can see it gone. */
import { existsSync } from 'node:fs';
import { readdir, readlink } from 'node:fs/promises';

/** The files below /dev/shm that the process has open and that still have a name. */
export async function inMemoryFiles(pid: number | 'self'): Promise<string[]> {
  const directory = `/proc/${pid}/fd`;
  const targets = (await readdir(directory)).map((fd) =>
    readlink(`${directory}/${fd}`).catch((error: NodeJS.ErrnoException) => {
      // The descriptor of this very listing is closed by now.
      if (error.code === 'ENOENT') return '';
      throw error;
    }),
  );
  return (await Promise.all(targets)).filter((path) => path.startsWith('/dev/shm/') && existsSync(path));
}

export function expectGone(paths: readonly string[]): void {
  const left = paths.filter((path) => existsSync(path));
  if (left.length > 0) throw new Error(`still there after the end: ${left.join(', ')}`);
}
