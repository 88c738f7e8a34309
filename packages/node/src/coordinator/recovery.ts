/**
 * Building the segment from SQLite: at every start, after a clean stop, a crash, or never having run.
 *
 * There is one way up and no repair of an old `meta`: SQLite is the truth, the segment is made from it.
 * `data` on tmpfs survives a dead node, and is trimmed to what the extents name.
 *
 * Clients of before a crash may still map pages and store into some. Until each has let go of what it had:
 *   - what was in quarantine or reserved stays taken
 *   - a page that becomes free is given to nobody
 */
import { randomBytes } from 'node:crypto';
import { FsError, native, type Run } from '@cluster-fs/transport';
import {
  DirectorySlots,
  fileType,
  fillInode,
  formatSegment,
  type Geometry,
  geometryFor,
  inodeAt,
  insertDirent,
  isDirectory,
  isFile,
  isSymlink,
  pageSize,
  rootIno,
  type Segment,
  SegmentWriter,
  setExtents,
  setText,
} from 'cluster-fs/segment';
import type { InodeRow, MetadataStore } from '../metadata/store.ts';
import { subtract } from './runs.ts';

export interface Recovered {
  readonly writer: SegmentWriter;
  readonly published: Segment;
  /** `meta`, sealed: nobody can map it writable any more, this process's own mapping is the only one. */
  readonly metaFd: number;
  readonly epoch: number;
  readonly nextHeldId: number;
  /** Inodes without a name, kept for sessions that may still refer to them. */
  readonly orphans: readonly number[];
  /** Pages of no file that clients of before may still touch. */
  readonly held: readonly { readonly id: number; readonly runs: readonly Run[] }[];
  readonly isNew: boolean;
}

/** With as many, tables take so much memory that pages of 2 MiB take little more. */
const manyInodes = 2 ** 15;

export interface FormatOptions {
  readonly dataSize: number;
  readonly inodeCount: number;
  readonly uid: number;
  readonly gid: number;
  /** Whether pages of files may be absent from `data`. */
  readonly paged: boolean;
}

export function recover(store: MetadataStore, format: FormatOptions, nowMs: number): Recovered {
  const isNew = store.superblock('segmentId') === undefined;
  if (isNew) formatStore(store, format, nowMs);
  const epoch = Number(store.superblock('epoch')) + 1;
  store.setSuperblock({ epoch: String(epoch) });
  const geometry = geometryFor({
    dataSize: Number(store.superblock('dataSize')),
    inodeCount: Number(store.superblock('inodeCount')),
  });
  const id = Buffer.from(store.superblock('segmentId') as string, 'hex');
  const options = { geometry, id, epoch, nowMs, nodePid: process.pid, paged: format.paged };
  const { metaFd, buffer } = createMeta(geometry);
  const published = formatSegment(buffer, options);
  const writer = new SegmentWriter(formatSegment(anonymous(geometry.metaSize), options), epoch);
  const orphans = load(store, writer, published);
  const held = holdBack(store, writer);
  writer.publish(published);
  const nextHeldId = Math.max(0, ...held.map((h) => h.id)) + 1;
  return { writer, published, metaFd, epoch, nextHeldId, orphans, held, isNew };
}

function formatStore(
  store: MetadataStore,
  { dataSize, inodeCount, uid, gid }: FormatOptions,
  nowMs: number,
): void {
  const root: InodeRow = {
    ino: rootIno,
    generation: 1,
    mode: fileType.directory | 0o755,
    uid,
    gid,
    nlink: 2,
    parent: rootIno,
    size: 0,
    layoutVersion: 1,
    atimeMs: nowMs,
    mtimeMs: nowMs,
    ctimeMs: nowMs,
    birthtimeMs: nowMs,
    target: undefined,
    extents: [],
    home: 0,
  };
  store.commit([{ type: 'putInode', row: root }]);
  store.setSuperblock({
    segmentId: randomBytes(16).toString('hex'),
    epoch: '0',
    dataSize: String(dataSize),
    inodeCount: String(inodeCount),
  });
}

/** Gives back the memory of both copies of the tables. Nobody reads them after this. */
export function releaseTables(recovered: Pick<Recovered, 'metaFd' | 'published' | 'writer'>): void {
  for (const { view, bytes, metaSize } of [recovered.published, recovered.writer.segment]) {
    const address = native.addressOf(bytes);
    native.detachArrayBuffer(view.buffer as ArrayBuffer);
    native.unmap(address, metaSize);
  }
  native.closeDescriptor(recovered.metaFd);
}

/**
 * A sealed memfd: a broken or hostile client, also one of the same user, cannot get a writable mapping of it.
 */
function createMeta({ metaSize }: Geometry): { metaFd: number; buffer: ArrayBuffer } {
  const metaFd = native.createMemfd('clusterfs-meta', metaSize);
  const address = native.mapFile({ fd: metaFd, offset: 0, length: metaSize, protection: 'read-write' });
  native.sealFutureWrites(metaFd);
  return { metaFd, buffer: native.arrayBufferAt(address, metaSize) };
}

function anonymous(length: number): ArrayBuffer {
  const address = native.reserveAddressRange(length);
  native.mapAnonymous({ address, length, protection: 'read-write' });
  return native.arrayBufferAt(address, length);
}

/** Everything that SQLite names. Returns the inodes without a name. */
function load(store: MetadataStore, writer: SegmentWriter, published: Segment): number[] {
  const orphans: number[] = [];
  // Each page by itself, as it is touched, takes longer than to fill it.
  const { metaSize } = writer.segment;
  if (store.lastIno() >= manyInodes) advise(writer.segment, pagesWith(0, metaSize), 'huge-page');
  writer.load(
    () => {
      for (const row of store.inodes()) {
        loadInode(writer, row);
        if (row.nlink === 0) orphans.push(row.ino);
      }
      const slots = new DirectorySlots();
      for (const { parent, name, ino } of store.names()) {
        const mode = writer.inode.at(inodeAt(writer.segment, ino)).mode;
        insertDirent(writer, slots, { parent, name, ino, type: mode & fileType.mask });
      }
    },
    published,
    (from, length) => advise(published, pagesWith(from, length), 'populate-write'),
  );
  return orphans;
}

/** Requires: whole pages. A kernel that does not know the advice, or does not take it, does without. */
function advise({ bytes }: Segment, { page, count }: Run, advice: native.Advice): void {
  try {
    native.adviseMapping(native.addressOf(bytes) + page * pageSize, count * pageSize, advice);
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
  }
}

const pagesWith = (from: number, length: number): Run => {
  const page = Math.floor(from / pageSize);
  return { page, count: Math.ceil((from + length) / pageSize) - page };
};

function loadInode(writer: SegmentWriter, row: InodeRow): void {
  const { ino, target, extents } = row;
  writer.takeInodeAt(ino, row.generation);
  // A directory's size counts its names, which are added later.
  fillInode(writer.segment, ino, isDirectory(row.mode) ? { ...row, size: 0 } : row);
  if (isSymlink(row.mode)) setText(writer, ino, Buffer.from(target ?? ''));
  if (!isFile(row.mode)) return;
  for (const run of extents) writer.pages.take(run);
  setExtents(writer, ino, extents);
}

/**
 * Takes the pages that were in quarantine or reserved; a reserved row may name pages that a file has by now.
 */
function holdBack(store: MetadataStore, writer: SegmentWriter): { id: number; runs: Run[] }[] {
  const byId = new Map<number, Run[]>();
  for (const { id, page, count } of store.held()) {
    const runs = subtract([{ page, count }], usedRuns(writer, { page, count }));
    for (const run of runs) writer.pages.take(run);
    byId.set(id, [...(byId.get(id) ?? []), ...runs]);
  }
  return [...byId].map(([id, runs]) => ({ id, runs }));
}

function usedRuns({ pages }: SegmentWriter, { page, count }: Run): Run[] {
  const used: Run[] = [];
  for (let p = page; p < page + count; p++) if (pages.isUsed(p)) used.push({ page: p, count: 1 });
  return used;
}
