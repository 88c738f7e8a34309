/**
 * A segment in this process's memory, changed as the coordinator changes it: in a working copy, then
 * published.
 */
import type { Extent } from '@cluster-fs/transport';
import {
  checkSegment,
  DirectorySlots,
  encodeName,
  fileType,
  formatSegment,
  freeChain,
  geometryFor,
  InodeCopy,
  insertDirent,
  isDirectory,
  isFile,
  lookup,
  pageSize,
  readExtents,
  readInode,
  removeDirent,
  retargetDirent,
  rootIno,
  type Segment,
  SegmentWriter,
  setExtents,
  setText,
} from '../src/segment/index.ts';

const pageCount = 512;

export class SegmentTree {
  readonly published: Segment;
  readonly writer: SegmentWriter;
  #slots = new DirectorySlots();

  constructor(inodeCount = 256) {
    const geometry = geometryFor({ dataSize: pageCount * pageSize, inodeCount });
    const options = { geometry, id: Buffer.alloc(16, 7), epoch: 3, nowMs: 0, nodePid: 1 };
    this.published = formatSegment(new ArrayBuffer(geometry.metaSize), options);
    this.writer = new SegmentWriter(formatSegment(new ArrayBuffer(geometry.metaSize), options), 3);
    this.#make(fileType.directory | 0o755, rootIno);
    this.publish();
  }

  /** Bytes of the working copy. */
  snapshot(): Buffer {
    return Buffer.from(this.writer.segment.bytes);
  }

  publish(): void {
    this.writer.publish(this.published);
  }

  check(segment: Segment = this.writer.segment): string[] {
    return checkSegment(segment, { runs: [], orphans: new Set() });
  }

  inoOf(parent: number, name: string): number {
    return lookup(this.writer.segment, parent, encodeName(name)).ino;
  }

  mkdir(parent: number, name: string): number {
    const ino = this.#make(fileType.directory | 0o755, parent);
    this.#insert(parent, name, ino);
    this.writer.touchInode(parent).nlink += 1;
    return ino;
  }

  symlink(parent: number, name: string, target: string): number {
    const ino = this.#make(fileType.symlink | 0o777, 0);
    setText(this.writer, ino, Buffer.from(target));
    this.#insert(parent, name, ino);
    return ino;
  }

  /**
   * A file of `pages`; with a gap after each page, so that every page is an extent of its own, when
   * `scattered`.
   */
  file(parent: number, name: string, { pages = 0, scattered = false } = {}): number {
    const ino = this.#make(fileType.file | 0o644, 0);
    this.#insert(parent, name, ino);
    if (pages > 0) this.fill(ino, { pages, scattered });
    return ino;
  }

  /** Gives a file other pages. */
  fill(ino: number, { pages, scattered = false }: { pages: number; scattered?: boolean }): void {
    const { writer } = this;
    const before = readExtents(writer.segment, ino, new InodeCopy());
    const runs = writer.pages.allocate(pages);
    if (runs === undefined) return;
    writer.onRollback(() => {
      for (const run of runs) writer.pages.release(run);
    });
    const step = scattered ? 2 : 1;
    let filePage = 0;
    const single = runs.flatMap(({ page, count }) => Array.from({ length: count }, (_, i) => page + i));
    const extents: Extent[] = scattered
      ? single.map((page, i) => ({ filePage: i * step, page, count: 1 }))
      : runs.map(({ page, count }) => {
          const extent = { filePage, page, count };
          filePage += count;
          return extent;
        });
    setExtents(writer, ino, extents);
    writer.touchInode(ino).size = pages * step * pageSize;
    this.#release(before);
  }

  link(ino: number, parent: number, name: string): void {
    this.#insert(parent, name, ino);
    this.writer.touchInode(ino).nlink += 1;
  }

  /** Removes a file, a symlink or an empty directory. */
  remove(parent: number, name: string): void {
    const ino = this.inoOf(parent, name);
    removeDirent(this.writer, this.#slots, parent, name);
    this.#unlink(ino, parent);
  }

  /** rename(2) of a file onto a name, which may be taken by another file. */
  rename(from: { parent: number; name: string }, to: { parent: number; name: string }): void {
    const ino = this.inoOf(from.parent, from.name);
    const replaced = this.inoOf(to.parent, to.name);
    if (ino === replaced) return;
    const entry = { ...to, ino, type: this.#modeOf(ino) & fileType.mask };
    if (replaced === 0) insertDirent(this.writer, this.#slots, entry);
    else {
      retargetDirent(this.writer, entry);
      this.#unlink(replaced, to.parent);
    }
    removeDirent(this.writer, this.#slots, from.parent, from.name);
  }

  rollback(savepoint: number): void {
    this.writer.rollback(savepoint);
  }

  #unlink(ino: number, parent: number): void {
    const record = this.writer.touchInode(ino);
    const directory = isDirectory(record.mode);
    record.nlink -= directory ? 2 : 1;
    if (directory) this.writer.touchInode(parent).nlink -= 1;
    if (this.writer.touchInode(ino).nlink > 0) return;
    const extents = isFile(this.#modeOf(ino)) ? readExtents(this.writer.segment, ino, new InodeCopy()) : [];
    freeChain(this.writer, ino);
    this.#slots.forget(ino);
    this.writer.freeInode(ino);
    this.#release(extents);
  }

  #release(extents: readonly Extent[]): void {
    const { writer } = this;
    for (const run of extents) writer.pages.release(run);
    writer.onRollback(() => {
      for (const run of extents) writer.pages.take(run);
    });
  }

  #insert(parent: number, name: string, ino: number): void {
    insertDirent(this.writer, this.#slots, { parent, name, ino, type: this.#modeOf(ino) & fileType.mask });
  }

  #modeOf(ino: number): number {
    const copy = new InodeCopy();
    readInode(this.writer.segment, ino, copy);
    return copy.mode;
  }

  #make(mode: number, parent: number): number {
    const ino = this.writer.takeInode();
    if (ino === undefined) throw new Error('the table is full');
    const nlink = isDirectory(mode) ? 2 : 1;
    Object.assign(this.writer.touchInode(ino), { mode, nlink, parent, layoutVersion: 1 });
    return ino;
  }
}
