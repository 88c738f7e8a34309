/**
 * As much of msgpack as a hostile peer needs, bad values included (msgpack spec,
 * github.com/msgpack/msgpack).
 */

/** What `pack` takes; `Raw` bytes go out as they are. */
export type Packable =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Packable[]
  | Raw
  | { readonly pairs: readonly (readonly [Packable, Packable])[] };

export class Raw {
  readonly bytes: Uint8Array;
  constructor(bytes: Uint8Array | readonly number[]) {
    this.bytes = Uint8Array.from(bytes);
  }
}

export function pack(value: Packable): Buffer {
  if (value instanceof Raw) return Buffer.from(value.bytes);
  if (value === null) return Buffer.from([0xc0]);
  if (typeof value === 'boolean') return Buffer.from([value ? 0xc3 : 0xc2]);
  if (typeof value === 'number') return packNumber(value);
  if (typeof value === 'string') return withLength(0xdb, Buffer.from(value));
  if (value instanceof Uint8Array) return withLength(0xc6, Buffer.from(value));
  if ('pairs' in value) {
    return Buffer.concat([
      header(0xdf, value.pairs.length),
      ...value.pairs.flatMap(([k, v]) => [pack(k), pack(v)]),
    ]);
  }
  return Buffer.concat([header(0xdd, value.length), ...value.map(pack)]);
}

function packNumber(value: number): Buffer {
  if (Number.isInteger(value) && value >= 0 && value <= 0x7f) return Buffer.from([value]);
  const double = Buffer.alloc(9);
  double[0] = 0xcb;
  double.writeDoubleBE(value, 1);
  return double;
}

const withLength = (type: number, bytes: Buffer): Buffer =>
  Buffer.concat([header(type, bytes.length), bytes]);

/** A type with a length of four bytes, whatever follows. */
export function header(type: number, length: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = type;
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

/** A frame of the protocol, with a length and a count of descriptors that may lie. */
export function frame(body: Uint8Array, { length = body.length, descriptors = 0 } = {}): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(length, 0);
  head.writeUInt32LE(descriptors, 4);
  return Buffer.concat([head, body]);
}
