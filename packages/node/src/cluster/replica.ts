/**
 * The tree of the home in the segment of a node that joined it: applies what comes, in order, each commit as
 * one.
 *
 *   empty ──everything──▶ current ──commit──▶ current
 *                            └──link breaks──▶ as before ──the rest, or everything──▶ current
 *
 * Numbers of inodes and their generations are the home's. Where pages lie is decided here: file pages that
 * are no hole at the home have pages of this segment, absent until a block of them comes.
 */
import type { Extent, Hole } from '@cluster-fs/transport';
import type { PeerEvent, PeerInode, PeerName } from '@cluster-fs/transport/peer';
import {
  counter,
  encodeName,
  fileType,
  freeChain,
  InodeCopy,
  inodeAt,
  insertDirent,
  isDirectory,
  isFile,
  isSymlink,
  listDirectory,
  lookup,
  modeOf,
  readInode,
  removeDirent,
  setCounter,
  setExtents,
  setText,
} from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { gaps } from '../coordinator/holes.ts';
import { noSpace } from '../coordinator/reserve.ts';
import { clip, layOut, merge } from '../coordinator/runs.ts';
import { keyOf, type NetChanges } from './rows.ts';

/** What views have to do with a change of the file pages that there are. */
export interface Relaid {
  readonly ino: number;
  /** File pages that have become holes. */
  readonly lost: readonly Hole[];
  /** File pages that were holes, or behind the end. */
  readonly gained: readonly Hole[];
  readonly size: number;
}

export class Replica {
  readonly #c: Coordinator;
  readonly #relay: (relaid: Relaid, extents: readonly Extent[]) => void;
  /** Everything, as far as it has come. */
  #whole: Whole | undefined;
  #sequence = 0;

  /** `relay` gives a file that is mapped its new extents. */
  constructor(c: Coordinator, relay: (relaid: Relaid, extents: readonly Extent[]) => void) {
    this.#c = c;
    this.#relay = relay;
  }

  get sequence(): number {
    return this.#sequence;
  }

  /** What came of everything is of no use any more. */
  linkDown(): void {
    this.#whole = undefined;
  }

  /** True when the segment is now as the home was at `sequence`. */
  take(event: PeerEvent<'changes'>): boolean {
    if (event.isWhole) this.#whole ??= new Whole();
    if (this.#whole === undefined) {
      this.#apply(event);
      this.#sequence = event.sequence;
      return true;
    }
    this.#whole.take(event);
    if (!event.isWhole || !event.isLast) return false;
    this.#apply(this.#whole.differenceTo(this.#c));
    this.#whole = undefined;
    this.#sequence = event.sequence;
    return true;
  }

  #apply({ inodes, gone, names }: NetChanges): void {
    const c = this.#c;
    let failure: unknown;
    c.journal
      .mutate(() => {
        for (const name of names) this.#removeName(name);
        for (const ino of gone) this.#destroy(ino);
        for (const row of inodes) this.#put(row);
        for (const name of names) if (name.ino !== 0) this.#addName(name);
        for (const row of inodes) this.#setAttributes(row);
      })
      .catch((error: unknown) => {
        failure = error;
        c.hub.report(error);
      });
    c.journal.flush();
    if (failure !== undefined) throw failure;
  }

  #removeName({ parent, name }: PeerName): void {
    const c = this.#c;
    if (lookup(c.segment, parent, encodeName(name)).ino === 0) return;
    removeDirent(c.writer, c.slots, parent, name);
    c.journal.change({ type: 'deleteDirent', parent, name });
  }

  #addName({ parent, name, ino }: PeerName): void {
    const c = this.#c;
    const type = modeOf(c.segment, ino) & fileType.mask;
    insertDirent(c.writer, c.slots, { parent, name, ino, type });
    c.journal.change({ type: 'putDirent', row: { parent, name, ino } });
  }

  #destroy(ino: number): void {
    const c = this.#c;
    const inode = new InodeCopy();
    if (!readInode(c.segment, ino, inode)) return;
    if (isFile(inode.mode)) this.#layOut(ino, [], 0);
    c.orphans.delete(ino);
    freeChain(c.writer, ino);
    c.slots.forget(ino);
    c.writer.freeInode(ino);
  }

  #put({ ino, generation, mode, target, pages, size }: PeerInode): void {
    const c = this.#c;
    const inode = new InodeCopy();
    const isThere = readInode(c.segment, ino, inode);
    if (isThere && inode.generation !== generation) this.#destroy(ino);
    const isNew = !isThere || inode.generation !== generation;
    if (isNew) {
      c.writer.takeInodeAt(ino, generation);
      c.writer.touchInode(ino).mode = mode;
      if (isSymlink(mode)) setText(c.writer, ino, Buffer.from(target ?? ''));
    }
    if (isFile(mode)) this.#layOut(ino, pages, size);
  }

  /** Gives a file pages where the home has some, and takes them where it has none. */
  #layOut(ino: number, pages: readonly Hole[], size: number): void {
    const c = this.#c;
    const before = c.extents(ino);
    const kept = pages.flatMap(({ filePage, count }) => clip(before, filePage, count));
    const gained = pages.flatMap(({ filePage, count }) => gaps(before, filePage, filePage + count));
    const lost = holesOf(before, pages);
    const isSame = gained.length === 0 && lost.length === 0;
    const oldSize = c.inode(ino).size;
    if (isSame && oldSize === size) return;
    const added = gained.flatMap(({ filePage, count }) => layOut(this.#take(count), filePage));
    const extents = merge(kept, added);
    if (c.views.has(ino)) this.#relay({ ino, lost, gained, size }, extents);
    else {
      if (!isSame) setExtents(c.writer, ino, extents);
      const left = lost.flatMap(({ filePage, count }) => clip(before, filePage, count));
      if (left.length > 0) c.freePages(left);
    }
  }

  #take(count: number) {
    const c = this.#c;
    const runs = c.writer.pages.allocate(count);
    if (runs === undefined) throw noSpace(c, count);
    c.writer.onRollback(() => {
      for (const run of runs) c.writer.pages.release(run);
    });
    // A page that nobody can know yet: readers find it by the extents, which come later.
    c.pager?.setAbsent(runs);
    return runs;
  }

  /** What is left when pages and names are as they should be. */
  #setAttributes(row: PeerInode): void {
    const c = this.#c;
    const record = c.writer.inode.at(inodeAt(c.segment, row.ino));
    const rights = record.mode !== row.mode || record.uid !== row.uid || record.gid !== row.gid;
    if (rights) setCounter(c.segment, 'rightsVersion', counter(c.segment, 'rightsVersion') + 1);
    const touched = c.writer.touchInode(row.ino);
    const { mode, uid, gid, nlink, parent, size, layoutVersion, home } = row;
    const { atimeMs, mtimeMs, ctimeMs, birthtimeMs } = row;
    Object.assign(touched, { mode, uid, gid, nlink, parent, size, layoutVersion, home });
    Object.assign(touched, { atimeMs, mtimeMs, ctimeMs, birthtimeMs });
    // The home keeps it for somebody, perhaps at another node.
    if (nlink === 0) c.orphans.add(row.ino);
  }
}

/** The parts of `extents` that are in none of `pages`. */
function holesOf(extents: readonly Extent[], pages: readonly Hole[]): Hole[] {
  const wanted = pages.map(({ filePage, count }) => ({ filePage, count, page: 0 }));
  return extents.flatMap(({ filePage, count }) => gaps(wanted, filePage, filePage + count));
}

/** Everything that the home has, while it comes: the last word on each inode and name counts. */
class Whole {
  readonly #inodes = new Map<number, PeerInode>();
  readonly #names = new Map<string, PeerName>();

  take({ inodes, gone, names }: NetChanges): void {
    for (const row of inodes) this.#inodes.set(row.ino, row);
    for (const ino of gone) this.#inodes.delete(ino);
    for (const name of names) {
      if (name.ino === 0) this.#names.delete(keyOf(name));
      else this.#names.set(keyOf(name), name);
    }
  }

  /** What must change so that the segment is that. */
  differenceTo(c: Coordinator): NetChanges {
    const gone: number[] = [];
    const names = new Map(this.#names);
    const inode = new InodeCopy();
    for (let ino = 1; ino < c.writer.inodeLimit; ino++) {
      if (!readInode(c.segment, ino, inode)) continue;
      if (!this.#inodes.has(ino)) gone.push(ino);
      if (!isDirectory(inode.mode)) continue;
      for (const { name, ino: child } of listDirectory(c.segment, ino)) {
        const key = keyOf({ parent: ino, name });
        if (names.get(key)?.ino === child) names.delete(key);
        else if (!names.has(key)) names.set(key, { parent: ino, name, ino: 0 });
      }
    }
    // A name means an inode also when that has another generation now.
    return { inodes: [...this.#inodes.values()], gone, names: [...names.values()] };
  }
}
