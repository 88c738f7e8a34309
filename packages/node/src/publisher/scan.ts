/** Everything below a directory of the disk, once. */
import { readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { type DiskEntry, isGone, lookDirectly } from './disk-entry.ts';

export interface Scanned {
  /** Below the directory; empty for the directory itself. */
  readonly name: string;
  readonly entry: DiskEntry;
}

export interface ScanListener {
  /** Called before the directory is read. */
  onDirectory(path: string, entry: DiskEntry): Promise<unknown>;
  /** A directory that cannot be read; what is in it is left out. */
  onError(name: string, error: unknown): void;
}

/** A directory comes before what is in it. */
export async function* scan(
  directory: string,
  { onDirectory, onError }: ScanListener,
): AsyncGenerator<Scanned> {
  const waiting = [''];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const entry = await lookDirectly(join(directory, name));
    if (entry === undefined) continue;
    yield { name, entry };
    if (entry.kind !== 'directory') continue;
    await onDirectory(join(directory, name), entry);
    try {
      const below = await readdir(join(directory, name));
      for (const child of below.sort().reverse()) waiting.push(posix.join(name, child));
    } catch (error) {
      if (!isGone(error)) onError(name, error);
    }
  }
}
