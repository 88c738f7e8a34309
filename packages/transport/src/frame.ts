/**
 * Frames on a byte stream: an eight-byte header, the length of the body and the number of descriptors that
 * came with it, then the body in msgpack.
 *
 * The reader keeps at most one unfinished frame. A header that announces more than the limits allow is
 * refused before a byte of it is kept, so a hostile peer cannot make this process grow.
 */
import { Packr } from 'msgpackr/pack';
import { Unpackr } from 'msgpackr/unpack';
import { struct, u32 } from './binary.ts';
import { FsError } from './errors.ts';

export const limits = {
  /** Longest frame body of a peer that nobody knows yet: `hello` and `attach` fit. */
  firstFrameBytes: 4096,
  /** Longest frame body: a remap of a file in 65,536 extents fits. */
  frameBytes: 2 * 1024 * 1024,
  /** Descriptors in one frame: `welcome` donates two, and nothing needs more. */
  frameDescriptors: 4,
  /** What may wait for a peer that does not read; beyond it the peer is cut off. */
  queuedBytes: 16 * 1024 * 1024,
} as const;

const header = struct('frame header', 8, {
  length: u32('bytes of the body'),
  descriptorCount: u32('descriptors that came with its first byte'),
});

/** Records would make the meaning of bytes depend on earlier frames; plain arrays do not. */
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

/** A message in msgpack, EMSGSIZE beyond `mostBytes`. The memory is used again for the next one. */
export function packBody(body: readonly unknown[], mostBytes: number): Buffer {
  const packed = packr.pack(body);
  if (packed.length > mostBytes) {
    throw new FsError('EMSGSIZE', 'send', { why: `${packed.length} bytes in one message` });
  }
  return packed;
}

/** The frame of `body`, header included. */
export function encodeFrame(body: readonly unknown[], descriptorCount: number): Uint8Array {
  const packed = packBody(body, limits.frameBytes);
  const frame = Buffer.allocUnsafe(header.size + packed.length);
  Object.assign(header.bind(viewOf(frame)).at(0), { length: packed.length, descriptorCount });
  frame.set(packed, header.size);
  return frame;
}

export interface Frame {
  readonly body: readonly unknown[];
  readonly descriptorCount: number;
  /** How long it was on the wire. */
  readonly bytes: number;
}

/** This many parts of a frame are joined: a peer that sends byte by byte makes no list of bytes here. */
const mostParts = 128;

/** Cuts a byte stream into frames. */
export class FrameReader {
  /** The beginning of a frame that is not complete. */
  #parts: Buffer[] = [];
  #length = 0;
  /** How long they have to be before there is anything to do. */
  #wanted: number = header.size;
  /** The longest frame body that is taken. */
  frameBytes: number = limits.frameBytes;

  /** Bytes of a frame that is not complete: memory that the peer holds. */
  get keptBytes(): number {
    return this.#length;
  }

  /**
   * Takes what arrived and calls `deliver` for each frame that is complete. Throws EPROTO on anything else.
   */
  push(chunk: Uint8Array, deliver: (frame: Frame) => void): void {
    if (this.#length + chunk.length < this.#wanted) {
      this.#keep(chunk);
      return;
    }
    const arrived = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    const input = this.#parts.length === 0 ? arrived : Buffer.concat([...this.#parts, arrived]);
    const cursor = header.bind(viewOf(input));
    let at = 0;
    this.#wanted = header.size;
    while (input.length - at >= header.size) {
      const { length, descriptorCount } = cursor.at(at);
      if (length > this.frameBytes || descriptorCount > limits.frameDescriptors) {
        throw new FsError('EPROTO', 'decode', {
          why: `a frame of ${length} bytes and ${descriptorCount} descriptors`,
        });
      }
      this.#wanted = header.size + length;
      if (input.length - at < this.#wanted) break;
      const body = decodeBody(input.subarray(at + header.size, at + this.#wanted));
      const bytes = this.#wanted;
      at += bytes;
      this.#wanted = header.size;
      deliver({ body, descriptorCount, bytes });
    }
    this.#parts = [];
    this.#length = 0;
    if (at < input.length) this.#keep(input.subarray(at));
  }

  /** The memory of what arrived is used again by the next read, so it is copied. */
  #keep(chunk: Uint8Array): void {
    if (this.#parts.length === mostParts) this.#parts = [Buffer.concat(this.#parts)];
    this.#parts.push(Buffer.from(chunk));
    this.#length += chunk.length;
  }
}

/** The message in these bytes, which nothing of it points into. Throws EPROTO when there is none. */
export function decodeBody(packed: Uint8Array): readonly unknown[] {
  let body: unknown;
  try {
    // Byte strings of the result must not point into the receive buffer.
    body = unpackr.unpack(Buffer.from(packed));
  } catch (cause) {
    throw new FsError('EPROTO', 'decode', { why: 'not msgpack', cause });
  }
  if (!Array.isArray(body)) throw new FsError('EPROTO', 'decode', { why: 'not a list' });
  return body;
}

const viewOf = ({ buffer, byteOffset, length }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, length);
