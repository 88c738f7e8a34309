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

/** The frame of `body`, header included. */
export function encodeFrame(body: readonly unknown[], descriptorCount: number): Uint8Array {
  const packed = packr.pack(body);
  if (packed.length > limits.frameBytes) {
    throw new FsError('EMSGSIZE', 'send', { why: `${packed.length} bytes in one message` });
  }
  const frame = Buffer.allocUnsafe(header.size + packed.length);
  Object.assign(header.bind(viewOf(frame)).at(0), { length: packed.length, descriptorCount });
  frame.set(packed, header.size);
  return frame;
}

export interface Frame {
  readonly body: readonly unknown[];
  readonly descriptorCount: number;
}

/** Cuts a byte stream into frames. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  /**
   * Takes what arrived and calls `deliver` for each frame that is complete. Throws EPROTO on anything else.
   */
  push(chunk: Uint8Array, deliver: (frame: Frame) => void): void {
    const arrived = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    const input = this.#rest.length === 0 ? arrived : Buffer.concat([this.#rest, arrived]);
    const cursor = header.bind(viewOf(input));
    let at = 0;
    while (input.length - at >= header.size) {
      const { length, descriptorCount } = cursor.at(at);
      if (length > limits.frameBytes || descriptorCount > limits.frameDescriptors) {
        throw new FsError('EPROTO', 'decode', {
          why: `a frame of ${length} bytes and ${descriptorCount} descriptors`,
        });
      }
      if (input.length - at < header.size + length) break;
      const body = decodeBody(input.subarray(at + header.size, at + header.size + length));
      at += header.size + length;
      deliver({ body, descriptorCount });
    }
    // The chunk's memory is reused by the next read, so what is left over is copied.
    this.#rest = at === input.length ? Buffer.alloc(0) : Buffer.from(input.subarray(at));
  }
}

function decodeBody(packed: Buffer): readonly unknown[] {
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
