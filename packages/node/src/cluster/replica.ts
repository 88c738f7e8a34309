/**
 * The tree of the home in the segment of a node that joined it: applies what comes, in order, each commit as
 * one.
 *
 *   empty ──everything──▶ current ──commit──▶ current
 *                            └──link breaks──▶ as before ──the rest, or everything──▶ current
 *
 * A commit that is not the next one breaks the protocol: the link is closed, and over the next one is asked
 * for what comes behind the last that is here.
 *
 * Numbers of inodes and their generations are the home's. Where pages lie is decided here: file pages that
 * are no hole at the home have pages of this segment, absent until a block of them comes.
 */
import { FsError } from '@cluster-fs/transport';
import type { PeerEvent, PeerInode, PeerName } from '@cluster-fs/transport/peer';
import type { Position } from 'cluster-fs/coherence';
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
  setText,
} from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { hasSamePages } from '../coordinator/only-moved.ts';
import { layOutForeign, pagesHere } from './foreign-content.ts';
import type { Homes } from './homes.ts';
import { beginStoring, endStoring } from './own-store.ts';
import { Joiner, Succession } from './parts.ts';
import { keyOf, type NetChanges } from './rows.ts';

export class Replica {
  readonly #c: Coordinator;
  readonly #homes: Homes;
  /** Everything, as far as it has come. */
  #whole: Whole | undefined;
  #joiner = new Joiner();
  #succession = new Succession(0);
  #position: Position | undefined;
  #isApplying = false;

  constructor(c: Coordinator, homes: Homes) {
    this.#c = c;
    this.#homes = homes;
  }

  /** Whether what is being committed just now is what the coordinator says. */
  get isApplying(): boolean {
    return this.#isApplying;
  }

  /** How far it has come; undefined before it has had everything. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** Whether all is applied that had happened by then. */
  hasReached({ feed, sequence }: Position): boolean {
    return (
      this.#position !== undefined &&
      Buffer.compare(feed, this.#position.feed) === 0 &&
      sequence <= this.sequence
    );
  }

  get sequence(): number {
    return this.#position?.sequence ?? 0;
  }

  /** What came of everything, or of a commit, is of no use any more. */
  linkDown(): void {
    this.#whole = undefined;
    this.#joiner = new Joiner();
    this.#succession = new Succession(this.sequence);
  }

  /** True when the segment is now as the home was at `sequence`. EPROTO when something else is the next. */
  take(event: PeerEvent<'changes'>): boolean {
    if (event.isWhole && this.#whole === undefined) {
      this.#whole = new Whole();
      this.#succession = new Succession(undefined);
    }
    if (!event.isWhole) this.#succession.take(event);
    else if (event.isLast) this.#succession.end(event.sequence);
    if (this.#whole === undefined) {
      const commit = this.#joiner.commit(event, event);
      if (commit === undefined) return false;
      this.#homes.positions.committed(commit, this.#homes.self, event.sequence);
      this.#apply(commit);
      this.#position = { feed: event.feed, sequence: event.sequence };
      return true;
    }
    this.#whole.take({ ...event, inodes: this.#joiner.inodes(event.inodes) });
    if (!event.isWhole || !event.isLast) return false;
    const everything = this.#whole.differenceTo(this.#c);
    const position = { feed: event.feed, sequence: event.sequence };
    // Of what becomes this node's by that, too, nothing is lent to who knows less.
    this.#homes.positions.begin(position);
    this.#findUntold(everything.inodes);
    this.#apply(everything);
    this.#whole = undefined;
    // And of what is this node's by that.
    this.#findUntold(everything.inodes);
    this.#position = position;
    return true;
  }

  /** EIO when it has not taken effect: the segment is as before, and the link ends, to ask for it again. */
  #apply({ inodes, gone, names }: NetChanges): void {
    const c = this.#c;
    let isApplied = false;
    // What this node did itself is a commit of its own.
    c.journal.flush();
    this.#isApplying = true;
    c.journal
      .mutate(() => {
        for (const name of names) this.#removeName(name);
        for (const ino of gone) this.#destroy(ino);
        for (const row of inodes) this.#put(row);
        for (const name of names) if (name.ino !== 0) this.#addName(name);
        for (const row of inodes) this.#setAttributes(row);
        this.#homes.saveLost();
        c.journal.afterCommit(() => {
          isApplied = true;
        });
      })
      .catch((error: unknown) => c.hub.report(error));
    c.journal.flush();
    this.#isApplying = false;
    if (!isApplied) throw new FsError('EIO', 'changes', { why: 'what others did cannot be applied here' });
  }

  /** What this node did to its files, and the coordinator does not know, or not any more. */
  #findUntold(inodes: readonly PeerInode[]): void {
    const c = this.#c;
    for (const { ino, mode, size, pages } of inodes) {
      if (!isFile(mode) || !this.#homes.isOwn(ino)) continue;
      if (c.inode(ino).size !== size || !hasSamePages(c.extents(ino), pages)) this.#homes.own?.isOther(ino);
    }
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
    c.orphans.delete(ino);
    if (this.#homes.isOwn(ino)) {
      this.#homes.own?.forget(ino);
      c.destroy(ino);
      return;
    }
    if (isFile(inode.mode)) layOutForeign(c, this.#homes, { ino, pages: [], size: 0 });
    if (this.#homes.stores(ino)) endStoring(c, ino);
    freeChain(c.writer, ino);
    c.slots.forget(ino);
    c.writer.freeInode(ino);
    c.journal.afterCommit(() => c.ended(ino, []));
  }

  #put({ ino, generation, mode, target, pages, size, home }: PeerInode): void {
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
    if (!isFile(mode)) return;
    const before = isNew ? home : inode.home;
    c.writer.touchInode(ino).home = home;
    if (home !== before) {
      const { self } = this.#homes;
      if (before === self) this.#homes.countForeign(inode.pages);
      else if (home === self) this.#homes.countForeign(-inode.pages);
      const stays = this.#homes.keepsPages(ino, { from: before, to: home });
      // What is here of it is not what its new home has.
      if (!stays) layOutForeign(c, this.#homes, { ino, pages: [], size });
      if (before === self) endStoring(c, ino);
      else if (home === self && stays) beginStoring(c, ino);
      c.journal.afterCommit(() => this.#homes.changed(ino, { from: before, to: home }));
    }
    if (isNew && home === this.#homes.self) this.#homes.setLost(ino, generation);
    // What is in it is for its home to say.
    if (this.#homes.isOwn(ino)) return;
    const here = pagesHere(c, this.#homes, { ino, pages, size });
    layOutForeign(c, this.#homes, { ino, pages: here, size });
  }

  /** What is left when pages and names are as they should be. */
  #setAttributes(row: PeerInode): void {
    const c = this.#c;
    const record = c.writer.inode.at(inodeAt(c.segment, row.ino));
    const rights = record.mode !== row.mode || record.uid !== row.uid || record.gid !== row.gid;
    if (rights) setCounter(c.segment, 'rightsVersion', counter(c.segment, 'rightsVersion') + 1);
    const touched = c.writer.touchInode(row.ino);
    const { mode, uid, gid, nlink, parent, size, layoutVersion } = row;
    const { atimeMs, mtimeMs, ctimeMs, birthtimeMs } = row;
    Object.assign(touched, { mode, uid, gid, nlink, parent });
    Object.assign(touched, { atimeMs, mtimeMs, ctimeMs, birthtimeMs });
    const isOwn = isFile(mode) && this.#homes.isOwn(row.ino);
    if (isOwn) this.#homes.own?.heard(row.ino, mtimeMs);
    else Object.assign(touched, { size, layoutVersion });
    // The home keeps it for somebody, perhaps at another node.
    if (nlink > 0) return;
    c.orphans.add(row.ino);
    if (isOwn && !c.references.has(row.ino)) c.journal.afterCommit(() => this.#homes.unused?.(row.ino));
  }
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
