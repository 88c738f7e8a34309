/**
 * Watching directories of the disk, each for what happens directly in it.
 *
 * One chokidar watcher per directory, none for files: inotify tells of a file by its directory, and watching
 * each file would cost ten times the memory. A watcher that recurses would also be tied to names: when a
 * directory takes the place of another, what is below it keeps the watches of the old one. Here a directory
 * is known by its inode, and is watched before it is listed, so that nothing is made in between unseen.
 *
 * By its inode alone it is not known for certain: it may go and come back while chokidar sets its watch,
 * which then is none, or never ready. So when the directory above tells that a name has come or gone, what
 * was watched there and below is watched anew.
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

/** lost: something else may have taken the name while the watch was set; look again what is there. */
export type Watched = 'new' | 'known' | 'lost';

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
   * Resolves when everything that happens in the directory is told: to `new` when that was not so before.
   * Requires: one call for a path at a time.
   */
  async watch(path: string, entry: DiskEntry): Promise<Watched> {
    const known = this.#byPath.get(path);
    if (known !== undefined && isSameInode(known.entry, entry)) return 'known';
    await this.unwatch(path);
    if (this.#closed) return 'lost';
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
    watcher.on('raw', (event, name) => {
      this.#listener.onHint(path);
      if (typeof name !== 'string') return;
      if (event === 'rename') this.#doubt(join(path, name));
      this.#listener.onHint(join(path, name));
    });
    return new Promise((resolve) => {
      this.#byPath.set(path, { watcher, entry, giveUp: () => resolve('lost') });
      watcher.once('ready', () => resolve('new'));
    });
  }

  /** A name has come or gone; or, since it is told so, the attributes of a directory have changed. */
  #doubt(path: string): void {
    if (!this.#byPath.has(path)) return;
    const below = [...this.#byPath.keys()].filter((each) => each === path || each.startsWith(`${path}/`));
    for (const each of below) void this.unwatch(each);
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
