/**
 * Frames on a byte stream: an eight-byte header, the length of the body and the number of descriptors that
 * came with it, then the body in msgpack.
 *
 * The reader keeps at most one unfinished frame. A header that announces more than the limits allow is
 * refused before a byte of it is kept, so a hostile peer cannot make this process grow.
 */
import { Packr, RESET_BUFFER_MODE } from 'msgpackr/pack';
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
/** Byte strings of what it makes must not point into a receive buffer, which is used again. */
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, copyBuffers: true });

/** A header on its way into a frame or out of one: to bind a cursor to each takes as long as to decode it. */
const headerBytes = Buffer.alloc(header.size);
const headerCursor = header.bind(
  new DataView(headerBytes.buffer, headerBytes.byteOffset, headerBytes.length),
);

/** A message in msgpack, EMSGSIZE beyond `mostBytes`. The memory is used again for the next one. */
export function packBody(body: readonly unknown[], mostBytes: number): Buffer {
  const packed = packr.pack(body, RESET_BUFFER_MODE);
  if (packed.length > mostBytes) {
    throw new FsError('EMSGSIZE', 'send', { why: `${packed.length} bytes in one message` });
  }
  return packed;
}

/** The frame of `body`, header included. */
export function encodeFrame(body: readonly unknown[], descriptorCount: number): Uint8Array {
  const packed = packBody(body, limits.frameBytes);
  const frame = Buffer.allocUnsafe(header.size + packed.length);
  headerCursor.length = packed.length;
  headerCursor.descriptorCount = descriptorCount;
  frame.set(headerBytes);
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
   * Takes the first `count` bytes of `arrived` (default: all) and calls `deliver` for each frame that is
   * complete. Throws EPROTO on anything else.
   */
  push(arrived: Uint8Array, deliver: (frame: Frame) => void, count = arrived.length): void {
    if (this.#length + count < this.#wanted) {
      this.#keep(arrived.subarray(0, count));
      return;
    }
    const isRest = this.#parts.length > 0;
    const input = isRest ? Buffer.concat([...this.#parts, arrived.subarray(0, count)]) : arrived;
    const end = isRest ? input.length : count;
    let at = 0;
    this.#wanted = header.size;
    while (end - at >= header.size) {
      for (let i = 0; i < header.size; i++) headerBytes[i] = input[at + i] as number;
      const { length, descriptorCount } = headerCursor;
      if (length > this.frameBytes || descriptorCount > limits.frameDescriptors) {
        throw new FsError('EPROTO', 'decode', {
          why: `a frame of ${length} bytes and ${descriptorCount} descriptors`,
        });
      }
      const bytes = header.size + length;
      this.#wanted = bytes;
      if (end - at < bytes) break;
      const body = decodeBody(input, at + header.size, at + bytes);
      at += bytes;
      this.#wanted = header.size;
      deliver({ body, descriptorCount, bytes });
    }
    this.#parts = [];
    this.#length = 0;
    if (at < end) this.#keep(input.subarray(at, end));
  }

  /** The memory of what arrived is used again by the next read, so it is copied. */
  #keep(chunk: Uint8Array): void {
    if (this.#parts.length === mostParts) this.#parts = [Buffer.concat(this.#parts)];
    this.#parts.push(Buffer.from(chunk));
    this.#length += chunk.length;
  }
}

/**
 * The message in bytes `start` to `end` (default: in all of them), which nothing of it points into. Throws
 * EPROTO when there is none.
 */
export function decodeBody(packed: Uint8Array, start = 0, end = packed.length): readonly unknown[] {
  let body: unknown;
  try {
    // An end of 0 would be none for msgpackr.
    body = end === 0 ? undefined : unpackr.unpack(packed, { start, end });
  } catch (cause) {
    throw new FsError('EPROTO', 'decode', { why: 'not msgpack', cause });
  }
  if (!Array.isArray(body)) throw new FsError('EPROTO', 'decode', { why: 'not a list' });
  return body;
}
