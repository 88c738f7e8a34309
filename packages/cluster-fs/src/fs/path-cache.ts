/**
 * From a path to its inode, with a cache in front of the walk.
 *
 * A cached place is checked on every use against what it was found by: the guard of each dentry chain on its
 * way, the counter of changed directory rights, and the segment itself. Nobody has to tell us what changed.
 * INVARIANT: what `resolve` copies was the inode of that path at one moment during the call.
 */
import { FsError } from '@cluster-fs/transport';
import { bucketGuard, type InodeCopy, layout, readInode, type Segment, walk } from '../segment/index.ts';
import type { Backend } from './backend.ts';

export const limits = {
  /**
   * Paths remembered, of each kind (links followed, or not): some megabytes at most. When it is full it
   * starts anew.
   */
  paths: 8192,
  /** Longer ones are walked each time: remembering them would cost more memory than it is worth. */
  pathLength: 512,
  /** A path whose directories are renamed all the time: give up rather than look for ever. */
  attempts: 1000,
} as const;

/** Where a path led. `guards` holds pairs: the index of a chain's guard, and the value it had. */
interface Place {
  readonly ino: number;
  readonly guards: readonly number[];
}

const nowhere: Place = { ino: 0, guards: [] };

const rightsVersionAt = layout.superblock.offset.rightsVersion / 4;

export class PathCache {
  readonly #backend: Backend;
  readonly #followed = new Map<string, Place>();
  readonly #plain = new Map<string, Place>();
  #segment: Segment | undefined;
  #incarnation = 0;
  #rightsVersion = 0;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /**
   * Copies the inode that `path` leads to; false when there is none (ENOENT).
   *
   * @throws FsError of the walk: ENOTDIR, ELOOP, ENAMETOOLONG, EACCES
   */
  resolve(path: string, syscall: string, copy: InodeCopy): boolean {
    return this.#find(this.#followed, path, syscall, copy);
  }

  /** As `resolve`, but a symlink in the last place is not followed. */
  resolveLink(path: string, syscall: string, copy: InodeCopy): boolean {
    return this.#find(this.#plain, path, syscall, copy);
  }

  #find(cache: Map<string, Place>, path: string, syscall: string, copy: InodeCopy): boolean {
    this.#backend.assertUsable(syscall, path);
    const s = this.#current();
    let place = cache.get(path);
    if (place === undefined || !holds(s.i32, place.guards)) place = this.#walk(cache, path, syscall, s);
    for (let attempt = 0; attempt < limits.attempts; attempt++) {
      if (place.ino === 0) return false;
      // The inode may have been freed and used again between the two; then the name has changed too.
      if (readInode(s, place.ino, copy) && holds(s.i32, place.guards)) return true;
      place = this.#walk(cache, path, syscall, s);
    }
    throw new FsError('EAGAIN', syscall, { path, why: 'the path changes faster than it can be walked' });
  }

  #walk(cache: Map<string, Place>, path: string, syscall: string, s: Segment): Place {
    const place =
      this.#place(s, path, { follow: cache === this.#followed, syscall }) ?? this.#missing(s, path, syscall);
    if (place === undefined) return nowhere;
    if (path.length > limits.pathLength) return place;
    // All at once: a Map whose oldest keys are deleted one by one gets slower with each.
    if (cache.size >= limits.paths && !cache.has(path)) cache.clear();
    cache.set(path, place);
    return place;
  }

  /** Undefined when a directory on the way is missing. */
  #place(s: Segment, path: string, how: { follow: boolean; syscall: string }): Place | undefined {
    const { credentials } = this.#backend;
    try {
      const { follow, syscall } = how;
      const { ino, chains: guards } = walk(s, path, { follow, syscall, credentials });
      for (let i = 0; i < guards.length; i += 2) guards[i] = bucketGuard(s, guards[i] as number);
      return { ino, guards };
    } catch (error) {
      if (error instanceof FsError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /**
   * The place of the directory that is missing: as long as it is, the path leads nowhere. Undefined behind a
   * link.
   */
  #missing(s: Segment, path: string, syscall: string): Place | undefined {
    for (let end = path.indexOf('/', 1); end > 0; end = path.indexOf('/', end + 1)) {
      const place = this.#place(s, path.slice(0, end), { follow: true, syscall });
      if (place === undefined || place.ino === 0) return place;
    }
    return undefined;
  }

  /** The segment of now. What was found in another, or before rights changed, is forgotten. */
  #current(): Segment {
    const { segment, incarnation, credentials } = this.#backend;
    // Pairs with the node's store after it changed the mode or owner of a directory. Root passes everywhere.
    const rights = credentials.uid === 0 ? 0 : Atomics.load(segment.i32, rightsVersionAt);
    if (segment !== this.#segment || incarnation !== this.#incarnation || rights !== this.#rightsVersion) {
      this.#followed.clear();
      this.#plain.clear();
      this.#segment = segment;
      this.#incarnation = incarnation;
      this.#rightsVersion = rights;
    }
    return segment;
  }
}

/** Whether every chain still is as it was: pairs with the node's stores around a change of a chain. */
function holds(words: Int32Array, guards: readonly number[]): boolean {
  for (let i = 0; i < guards.length; i += 2) {
    if (Atomics.load(words, guards[i] as number) !== guards[i + 1]) return false;
  }
  return true;
}
