/**
 * An inode as SQLite has it: one blob, behind which others can lie. To take a value out of SQLite takes ten
 * times as long as to write it behind others in there, and a start takes out all that there are.
 */
import { assert, f64, struct, u32, u53 } from '@cluster-fs/transport';
import { layout } from 'cluster-fs/segment';
import { extentsIn, storeExtents } from './extents.ts';
import type { InodeRow } from './store.ts';

export const inodeRecord = struct('inode record', 88, {
  ino: u32('own number, as the key of its row'),
  generation: u32('count of the uses of the number'),
  mode: u32('file type and permission bits, as st_mode'),
  uid: u32('owner'),
  gid: u32('group'),
  nlink: u32('names; a directory has 2 and one for each directory in it'),
  parent: u32('of a directory: the directory it is in, the root is in itself; else 0'),
  home: u32('of a file: the node that keeps its bytes; 0 is the coordinator'),
  size: u53('length in bytes'),
  layoutVersion: u53('grows whenever the extents change'),
  atimeMs: f64('milliseconds since 1970'),
  mtimeMs: f64('content changed'),
  ctimeMs: f64('inode changed'),
  birthtimeMs: f64('made'),
  extentCount: u32('`extent` records of the segment format, which follow'),
  targetLength: u32(
    'bytes of the target of a symlink, which follow, filled with zeros up to a multiple of 8',
  ),
});

const extentBytes = layout.extent.size;
const alignment = 8;

const word = (name: keyof typeof inodeRecord.offset): number => inodeRecord.offset[name] / 4;
const at = {
  ino: word('ino'),
  generation: word('generation'),
  mode: word('mode'),
  uid: word('uid'),
  gid: word('gid'),
  nlink: word('nlink'),
  parent: word('parent'),
  home: word('home'),
  size: word('size'),
  layoutVersion: word('layoutVersion'),
  atimeMs: word('atimeMs') / 2,
  mtimeMs: word('mtimeMs') / 2,
  ctimeMs: word('ctimeMs') / 2,
  birthtimeMs: word('birthtimeMs') / 2,
  extentCount: word('extentCount'),
  targetLength: word('targetLength'),
};

/** The numbers of the record that is being made: to make a cursor for each takes longer than to fill it. */
const header = new Uint8Array(inodeRecord.size);
const fields = inodeRecord.bind(new DataView(header.buffer)).at(0);

/** Requires: a target is not empty. @throws Error when a number does not fit its field. */
export function encodeInode(row: InodeRow): Uint8Array {
  const target = row.target === undefined ? undefined : Buffer.from(row.target);
  const targetLength = target?.length ?? 0;
  const targetAt = inodeRecord.size + row.extents.length * extentBytes;
  const record = new Uint8Array(targetAt + Math.ceil(targetLength / alignment) * alignment);
  // One by one: to spread the row and to assign it takes longer than all the rest.
  fields.ino = row.ino;
  fields.generation = row.generation;
  fields.mode = row.mode;
  fields.uid = row.uid;
  fields.gid = row.gid;
  fields.nlink = row.nlink;
  fields.parent = row.parent;
  fields.home = row.home;
  fields.size = row.size;
  fields.layoutVersion = row.layoutVersion;
  fields.atimeMs = row.atimeMs;
  fields.mtimeMs = row.mtimeMs;
  fields.ctimeMs = row.ctimeMs;
  fields.birthtimeMs = row.birthtimeMs;
  fields.extentCount = row.extents.length;
  fields.targetLength = targetLength;
  record.set(header);
  storeExtents(row.extents, new Uint32Array(record.buffer), inodeRecord.size / 4);
  if (target !== undefined) record.set(target, targetAt);
  return record;
}

/** @throws Error when the bytes are not one whole record. */
export function decodeInode(record: Uint8Array): InodeRow {
  const [row, ...others] = inodesIn(record);
  assert(row !== undefined && others.length === 0, 'a row of SQLite has one inode');
  return row;
}

/**
 * Records, one behind the other. Typed arrays and not the struct's cursor: a start reads all that there are.
 *
 * @throws Error when they are not whole.
 */
export function* inodesIn(records: Uint8Array): Generator<InodeRow> {
  const bytes = aligned(records);
  const u32s = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const f64s = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  for (let base = 0; base < u32s.length; ) {
    const first = base + inodeRecord.size / 4;
    assert(first <= u32s.length, 'a record of an inode is whole');
    const extentsEnd = first + ((u32s[base + at.extentCount] as number) * extentBytes) / 4;
    const targetLength = u32s[base + at.targetLength] as number;
    const end = extentsEnd + (Math.ceil(targetLength / alignment) * alignment) / 4;
    assert(end <= u32s.length, 'a record of an inode is whole');
    yield {
      ino: u32s[base + at.ino] as number,
      generation: u32s[base + at.generation] as number,
      mode: u32s[base + at.mode] as number,
      uid: u32s[base + at.uid] as number,
      gid: u32s[base + at.gid] as number,
      nlink: u32s[base + at.nlink] as number,
      parent: u32s[base + at.parent] as number,
      home: u32s[base + at.home] as number,
      size: u53Of(u32s, base + at.size),
      layoutVersion: u53Of(u32s, base + at.layoutVersion),
      atimeMs: f64s[base / 2 + at.atimeMs] as number,
      mtimeMs: f64s[base / 2 + at.mtimeMs] as number,
      ctimeMs: f64s[base / 2 + at.ctimeMs] as number,
      birthtimeMs: f64s[base / 2 + at.birthtimeMs] as number,
      target: targetLength === 0 ? undefined : textAt(bytes, extentsEnd * 4, targetLength),
      extents: extentsIn(u32s, first, extentsEnd),
    };
    base = end;
  }
}

/** The bytes themselves where typed arrays can be laid over them, else a copy. */
function aligned(bytes: Uint8Array): Uint8Array {
  assert(bytes.length % alignment === 0, 'a record of an inode is whole');
  return bytes.byteOffset % alignment === 0 ? bytes : new Uint8Array(bytes);
}

const u53Of = (words: Uint32Array, index: number): number =>
  (words[index] as number) + (words[index + 1] as number) * 0x1_0000_0000;

const textAt = (bytes: Uint8Array, from: number, length: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + from, length).toString();
