/**
 * A newer edition of a database, as its maker would publish it: it knows one address more.
 *
 * The file has a binary tree over the bits of addresses, 16 zero bytes, the answers, and metadata after a
 * marker; see the MaxMind DB file format specification, version 2.0. New nodes of the tree shift everything
 * behind it, and with it every pointer: old and new have hardly a page in common, and half of one with half
 * of the other would answer nonsense.
 */
import { type CityResponse, Reader } from 'mmdb-lib';

const marker = Buffer.from('\xab\xcd\xefMaxMind.com', 'latin1');
const separatorBytes = 16;
const nodeBytes = 6;
const recordBytes = 3;

export interface Addition {
  /** IPv6, with `::` in it. */
  readonly address: string;
  readonly answer: Readonly<Record<string, string>>;
  readonly builtAt: Date;
}

export function newerEdition(database: Buffer, { address, answer, builtAt }: Addition): Buffer {
  const { nodeCount, recordSize, searchTreeSize } = new Reader<CityResponse>(database).metadata;
  if (recordSize !== 8 * recordBytes) throw new Error(`a tree of ${recordSize} bits a record`);
  const bits = bitsOf(address);
  const leaf = findLeaf(database, nodeCount, bits);
  const added = bits.length - leaf.depth - 1;

  const tree = Buffer.alloc(searchTreeSize + added * nodeBytes);
  // A record below `nodeCount` is a node. That number is "unknown", others are answers; both move by `added`.
  const shifted = (record: number): number => (record < nodeCount ? record : record + added);
  for (let at = 0; at < searchTreeSize; at += recordBytes) {
    tree.writeUIntBE(shifted(database.readUIntBE(at, recordBytes)), at, recordBytes);
  }
  const end = database.lastIndexOf(marker);
  const answers = database.subarray(searchTreeSize + separatorBytes, end);
  const unknown = tree.readUIntBE(leaf.at, recordBytes);
  let at = leaf.at;
  for (let node = nodeCount; node < nodeCount + added; node++) {
    tree.writeUIntBE(node, at, recordBytes);
    const [yes, no] = bits[leaf.depth + 1 + node - nodeCount] === 1 ? [recordBytes, 0] : [0, recordBytes];
    tree.writeUIntBE(unknown, node * nodeBytes + no, recordBytes);
    at = node * nodeBytes + yes;
  }
  tree.writeUIntBE(nodeCount + added + separatorBytes + answers.length, at, recordBytes);

  const metadata = Buffer.from(database.subarray(end));
  setNumber(metadata, 'node_count', nodeCount + added);
  setNumber(metadata, 'build_epoch', Math.floor(builtAt.getTime() / 1000));
  return Buffer.concat([tree, Buffer.alloc(separatorBytes), answers, encodeMap(answer), metadata]);
}

function bitsOf(address: string): number[] {
  const [head = [], tail = []] = address.split('::').map((part) => part.split(':').filter(Boolean));
  const zeros = Array<string>(8 - head.length - tail.length).fill('0');
  const toBits = (group: string) => Number.parseInt(group, 16).toString(2).padStart(16, '0');
  return [...head, ...zeros, ...tail].flatMap((group) => [...toBits(group)].map(Number));
}

/** The record that ends the way of an address down the tree, and how many bits were used above it. */
function findLeaf(
  database: Buffer,
  nodeCount: number,
  bits: readonly number[],
): { at: number; depth: number } {
  let node = 0;
  for (let depth = 0; depth < bits.length; depth++) {
    const at = node * nodeBytes + (bits[depth] === 1 ? recordBytes : 0);
    node = database.readUIntBE(at, recordBytes);
    if (node >= nodeCount) return { at, depth };
  }
  throw new Error('the tree is deeper than an address has bits');
}

/** Short strings only: a control byte of type and length, then the bytes. */
function encodeMap(map: Readonly<Record<string, string>>): Buffer {
  const text = (value: string): Buffer => Buffer.from(`${String.fromCharCode(0x40 | value.length)}${value}`);
  const entries = Object.entries(map);
  return Buffer.concat([Buffer.of(0xe0 | entries.length), ...entries.flat().map(text)]);
}

/** Overwrites a number of the metadata in the bytes it has. */
function setNumber(metadata: Buffer, key: string, value: number): void {
  const control = metadata.indexOf(key) + key.length;
  const size = (metadata[control] ?? 0) & 0x1f;
  // Types above 7 have their number in a byte of its own.
  const isExtended = (metadata[control] ?? 0) >> 5 === 0;
  metadata.writeUIntBE(value, control + (isExtended ? 2 : 1), size);
}
