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
 * was watched there and below is watched anew. And so is what was watched below before the directory above
 * could tell of it.
 */
import { dirname, join, resolve } from 'node:path';
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
  /** Those that are watched directly in a directory, by its path. */
  readonly #below = new Map<string, Set<string>>();
  #closed = false;

  constructor(listener: WatchListener) {
    this.#listener = listener;
  }

  /**
   * Resolves when everything that happens in the directory is told: to `new` when that was not so before, and
   * then nothing below is watched yet. Requires: one call for a path at a time.
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
      this.#add(path, { watcher, entry, giveUp: () => resolve('lost') });
      watcher.once('ready', () => {
        this.#unwatchBelow(path);
        resolve('new');
      });
    });
  }

  /** A name has come or gone; or, since it is told so, the attributes of a directory have changed. */
  #doubt(path: string): void {
    if (!this.#byPath.has(path)) return;
    void this.unwatch(path);
    this.#unwatchBelow(path);
  }

  /** What is below one that is not watched is left to the look that will watch that one. */
  #unwatchBelow(path: string): void {
    for (const each of [...(this.#below.get(path) ?? [])]) {
      void this.unwatch(each);
      this.#unwatchBelow(each);
    }
  }

  #add(path: string, watch: Watch): void {
    this.#byPath.set(path, watch);
    const above = dirname(path);
    // The root of the disk is its own directory.
    if (above === path) return;
    const beside = this.#below.get(above) ?? new Set();
    this.#below.set(above, beside.add(path));
  }

  #take(path: string): Watch | undefined {
    const watch = this.#byPath.get(path);
    this.#byPath.delete(path);
    const above = dirname(path);
    const beside = this.#below.get(above);
    beside?.delete(path);
    if (beside?.size === 0) this.#below.delete(above);
    return watch;
  }

  /** Safe for what is not watched. */
  async unwatch(path: string): Promise<void> {
    const known = this.#take(path);
    if (known === undefined) return;
    known.giveUp();
    const closed = known.watcher.close();
    // What fails in it from here on concerns nobody, but must be heard: closing has ended all listening.
    known.watcher.on('error', () => undefined);
    await closed;
  }

  async unwatchAll(): Promise<void> {
    await Promise.all([...this.#byPath.keys()].map((path) => this.unwatch(path)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.unwatchAll();
  }
}
