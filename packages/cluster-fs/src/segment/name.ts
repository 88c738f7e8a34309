/**
 * Names as bytes: encoding, the hash that chooses a dentry chain, comparison with a dirent in the segment.
 */
import { blockHeader, dirent, inlineName } from './layout.ts';
import { blockAt, type Segment } from './segment.ts';

const encoder = new TextEncoder();

/**
 * UTF-8 of a name. Plain ASCII, which nearly all names are, is copied here: the encoder costs more than a
 * lookup.
 */
export function encodeName(name: string): Uint8Array {
  const { length } = name;
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    const unit = name.charCodeAt(i);
    if (unit > 127) return encoder.encode(name);
    bytes[i] = unit;
  }
  return bytes;
}

/** FNV-1a over the name, seeded with the directory, then mixed so that the low bits are good. */
export function hashName(parent: number, name: Uint8Array): number {
  let hash = 0x811c9dc5 ^ Math.imul(parent, 0x9e3779b1);
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ (name[i] as number), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}

const { nameLength: lengthAt, nameBlock: nameBlockAt, name: nameAt } = dirent.offset;

/**
 * Whether the dirent at byte `at` has this name. May read a half-written record: its guard decides if that
 * counts.
 */
export function sameName(s: Segment, at: number, name: Uint8Array): boolean {
  const { bytes } = s;
  if (bytes[at + lengthAt] !== name.length) return false;
  const inline = Math.min(name.length, inlineName);
  for (let i = 0; i < inline; i++) if (bytes[at + nameAt + i] !== name[i]) return false;
  if (name.length <= inlineName) return true;
  const rest = restOfName(s, at);
  for (let i = inlineName; i < name.length; i++) if (bytes[rest + i - inlineName] !== name[i]) return false;
  return true;
}

/** The name of the dirent at byte `at`. */
export function nameOf(s: Segment, at: number): string {
  const length = s.bytes[at + lengthAt] as number;
  const inline = Math.min(length, inlineName);
  if (length <= inlineName) return s.bytes.toString('utf8', at + nameAt, at + nameAt + inline);
  const rest = restOfName(s, at);
  return Buffer.concat([
    s.bytes.subarray(at + nameAt, at + nameAt + inlineName),
    s.bytes.subarray(rest, rest + length - inlineName),
  ]).toString('utf8');
}

/** Where the part of a long name that does not fit in its dirent starts. */
function restOfName(s: Segment, at: number): number {
  const block = s.u32[(at + nameBlockAt) / 4] as number;
  return blockAt(s, block < s.blockCount ? block : 0) + blockHeader.size;
}
