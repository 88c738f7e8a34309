/**
 * A dump is a POSIX pax archive, which every tar can list and unpack:
 *
 *   ./                 the root; the record `comment` of its header says that this is a dump, and its version
 *   ./a/  ./a/b  ...   each directory before what is in it
 *   1 KiB of zeros     the end; without it the dump is not whole
 *
 * Names, times and large numbers are pax records. A second name of a file is a link entry. A file with holes
 * is in GNU's sparse format 1.0 (`GNU.sparse.*`): a map of its data in front of the data.
 */
import { FsError } from '@cluster-fs/transport';

/** History: 1, the first. */
export const dumpVersion = 1;

const mark = 'clusterfs dump ';

/** In the root's header: GNU tar passes over a `comment`, and warns about records of other programs. */
export const dumpComment = `${mark}${dumpVersion}`;

/** @throws FsError EINVAL for what is no dump, EPROTONOSUPPORT for another version */
export function assertDump(name: string, comment: string | undefined): void {
  if (name !== './' || comment?.startsWith(mark) !== true) throw notADump();
  const version = comment.slice(mark.length);
  if (version === String(dumpVersion)) return;
  const why = `version ${version} of the format, this build knows ${dumpVersion}`;
  throw new FsError('EPROTONOSUPPORT', 'load', { why });
}

export const notADump = (): FsError => new FsError('EINVAL', 'load', { why: 'this is no dump of clusterfs' });

export const damaged = (what: string): FsError =>
  new FsError('EIO', 'load', { why: `the dump is damaged: ${what}` });

export const endsEarly = (): FsError =>
  new FsError('EIO', 'load', { why: 'the dump ends early; what was loaded before stays' });

export const tarBlock = 512;
/** Bytes of zeros that end an archive. */
export const endBytes = 2 * tarBlock;

/** A part of a file, in bytes. */
export interface Piece {
  readonly offset: number;
  readonly length: number;
}

/** The map in front of the data: how many pieces, then offset and length of each, filled up to a block. */
export function encodeSparseMap(pieces: readonly Piece[], size: number): Buffer {
  // As GNU tar has it, an empty piece at the end of the file is the last.
  const all = [...pieces, { offset: size, length: 0 }];
  const text = `${[all.length, ...all.flatMap(({ offset, length }) => [offset, length])].join('\n')}\n`;
  const map = Buffer.alloc(Math.ceil(text.length / tarBlock) * tarBlock);
  map.write(text);
  return map;
}

/** More pieces than a file can have extents. */
const mostPieces = 2 ** 22;

/** Reads the map; `next` gives one line of it. Pieces are in order and within the file. */
export async function decodeSparseMap(next: () => Promise<string>, size: number): Promise<Piece[]> {
  const number = async (): Promise<number> => {
    const line = await next();
    const value = Number(line);
    if (!/^\d+$/.test(line) || !Number.isSafeInteger(value)) throw damaged('the map of a sparse file');
    return value;
  };
  const count = await number();
  if (count > mostPieces) throw damaged('the map of a sparse file');
  const pieces: Piece[] = [];
  let end = 0;
  for (let i = 0; i < count; i++) {
    const piece = { offset: await number(), length: await number() };
    if (piece.offset < end || piece.offset + piece.length > size) throw damaged('the map of a sparse file');
    end = piece.offset + piece.length;
    if (piece.length > 0) pieces.push(piece);
  }
  return pieces;
}

/** Milliseconds as pax has times: seconds in decimal, with every digit of the double. */
export function encodeTime(ms: number): string {
  const positive = Math.abs(ms);
  const text = String(positive);
  const [whole = '0', fraction = ''] = (text.includes('e') ? positive.toFixed(9) : text).split('.');
  const digits = whole.padStart(4, '0');
  const rest = `${digits.slice(-3)}${fraction}`.replace(/0+$/, '');
  return `${ms < 0 ? '-' : ''}${digits.slice(0, -3)}${rest === '' ? '' : `.${rest}`}`;
}

/** The milliseconds again. Undefined for what is no time. */
export function decodeTime(text: string | undefined): number | undefined {
  const [, sign, whole = '', fraction = ''] = /^(-?)(\d+)(?:\.(\d*))?$/.exec(text ?? '') ?? [];
  if (sign === undefined) return undefined;
  const digits = fraction.padEnd(3, '0');
  return Number(`${sign}${whole}${digits.slice(0, 3)}.${digits.slice(3)}`);
}

/**
 * Seconds for utimes, chosen so that times 1000 they are `ms` again: without that a time may come back one
 * bit away.
 */
export function secondsFor(ms: number): string {
  const seconds = ms / 1000;
  const step = Math.abs(seconds) * Number.EPSILON;
  const exact = [0, -1, 1, -0.5, 0.5].map((n) => seconds + n * step).find((s) => s * 1000 === ms);
  // As text: utimes takes a negative number for now.
  return String(exact ?? seconds);
}
