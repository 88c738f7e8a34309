/**
 * Watching directories of the disk, each for what happens directly in it.
 *
 * One chokidar watcher per directory, none for files: inotify tells of a file by its directory, and watching
 * each file would cost ten times the memory. A watcher that recurses would also be tied to names: when a
 * directory takes the place of another, what is below it keeps the watches of the old one. Here a directory
 * is known by its inode, and is watched before it is listed, so that nothing is made in between unseen.
 */
import { join, resolve } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import { type DiskEntry, isSameInode } from './disk-entry.ts';

interface Watch {
  readonly watcher: FSWatcher;
  readonly entry: DiskEntry;
  /** Ends the waiting for the watcher to be ready: one that is closed never is. */
  readonly giveUp: () => void;
}

export interface WatchListener {
  /** Something may have happened at this path. */
  onHint(path: string): void;
  onError(path: string, error: unknown): void;
}

export class Watches {
  readonly #listener: WatchListener;
  readonly #byPath = new Map<string, Watch>();
  #closed = false;

  constructor(listener: WatchListener) {
    this.#listener = listener;
  }

  /**
   * Resolves when everything that happens in the directory is told: to true when that was not so before.
   * Requires: one call for a path at a time.
   */
  async watch(path: string, entry: DiskEntry): Promise<boolean> {
    const known = this.#byPath.get(path);
    if (this.#closed || (known !== undefined && isSameInode(known.entry, entry))) return false;
    await this.unwatch(path);
    const watcher = watch(path, {
      depth: 0,
      ignored: (each) => resolve(each) !== path,
      ignoreInitial: true,
      followSymlinks: false,
      atomic: false,
    });
    watcher.on('error', (error) => this.#listener.onError(path, error));
    // As inotify tells it: chokidar leaves out what it takes for no change, or for one too many, such as new
    // attributes, or the second of two changes within 50 ms.
    watcher.on('raw', (_, name) => {
      this.#listener.onHint(path);
      if (typeof name === 'string') this.#listener.onHint(join(path, name));
    });
    return new Promise((resolve) => {
      this.#byPath.set(path, { watcher, entry, giveUp: () => resolve(false) });
      watcher.once('ready', () => resolve(true));
    });
  }

  /** Safe for what is not watched. */
  async unwatch(path: string): Promise<void> {
    const known = this.#byPath.get(path);
    this.#byPath.delete(path);
    known?.giveUp();
    await known?.watcher.close();
  }

  async unwatchAll(): Promise<void> {
    await Promise.all([...this.#byPath.keys()].map((path) => this.unwatch(path)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.unwatchAll();
  }
}
