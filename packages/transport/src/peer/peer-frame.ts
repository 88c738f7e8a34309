/**
 * Frames between nodes: a header with two lengths, the body in msgpack or a block run, then the payload as it
 * is.
 *
 * The payload is never packed. Where it arrived in one piece it is handed over as that piece; otherwise its
 * pieces are put together once, in memory of its own. A header that announces more than the limits allow is
 * refused before a byte of it is kept: a peer that nobody knows yet makes this process keep 4 KiB.
 */
import { struct, u32 } from '../binary.ts';
import { FsError } from '../errors.ts';
import { decodeBody, packBody } from '../frame.ts';
import { decodeRun, type IncomingRun, isRun, type OutgoingRun } from './block-run.ts';
import { peerLimits } from './peer-limits.ts';

const header = struct('peer frame header', 8, {
  length: u32('bytes of the body'),
  payloadLength: u32('bytes of the payload'),
});

/** One header at a time is written, or read: a view for each would cost more than all that is in it. */
const headerBytes = Buffer.alloc(header.size);
const lengths = header.bind(new DataView(headerBytes.buffer, headerBytes.byteOffset, headerBytes.length));

export interface OutgoingFrame {
  /** Header and body. */
  readonly head: Uint8Array;
  readonly payloads: readonly Uint8Array[];
  readonly bytes: number;
  /** To be called when it has left, or never will. */
  readonly left?: readonly (() => void)[];
}

/** The frame of a message. The payload is not copied: its bytes must stay as they are until it has left. */
export function encodePeerFrame(body: readonly unknown[], payload: Uint8Array | undefined): OutgoingFrame {
  const payloadLength = payload?.length ?? 0;
  if (payloadLength > peerLimits.payloadBytes) {
    throw new FsError('EMSGSIZE', 'send', { why: `a payload of ${payloadLength} bytes` });
  }
  const head = headOf(packBody(body, peerLimits.frameBytes), payloadLength);
  const payloads = payload === undefined || payloadLength === 0 ? [] : [payload];
  return { head, payloads, bytes: head.length + payloadLength };
}

/** The frame of a run. */
export function encodeRunFrame(run: OutgoingRun): OutgoingFrame {
  const { body, payloads } = run.encode();
  const head = headOf(body, run.payloadBytes);
  return { head, payloads, bytes: head.length + run.payloadBytes, left: run.left };
}

function headOf(body: Uint8Array, payloadLength: number): Buffer {
  const head = Buffer.allocUnsafe(header.size + body.length);
  lengths.length = body.length;
  lengths.payloadLength = payloadLength;
  head.set(headerBytes);
  head.set(body, header.size);
  return head;
}

export interface PeerFrame {
  readonly body: readonly unknown[];
  readonly payload: Uint8Array | undefined;
}

/** Takes what is complete. */
export interface Delivery {
  frame(frame: PeerFrame): void;
  /** Block `at` of a run, which counts from 0. The payload is lent. */
  block(run: IncomingRun, at: number, payload: Uint8Array | undefined): void;
}

/** A stretch of the stream of known length, which may come in pieces. */
class Part {
  readonly #length: number;
  #bytes: Buffer | undefined;
  #filled = 0;

  /** `memory`: where its pieces are put together, if it comes in pieces. */
  constructor(length: number, memory?: Buffer) {
    this.#length = length;
    this.#bytes = memory?.subarray(0, length);
  }

  /** Takes what belongs to it, and says how much that was. */
  take(chunk: Buffer, at: number): { readonly whole: Buffer | undefined; readonly next: number } {
    const wanted = this.#length - this.#filled;
    const next = Math.min(chunk.length, at + wanted);
    if (this.#filled === 0 && next - at === wanted) return { whole: chunk.subarray(at, next), next };
    this.#bytes ??= Buffer.allocUnsafeSlow(this.#length);
    this.#filled += chunk.copy(this.#bytes, this.#filled, at, next);
    return { whole: this.#filled === this.#length ? this.#bytes : undefined, next };
  }
}

/** Cuts what arrives into frames. */
export class PeerFrameReader {
  #state: 'header' | 'body' | 'payload' = 'header';
  #part = new Part(header.size);
  #payloadLength = 0;
  #body: readonly unknown[] = [];
  #run: IncomingRun | undefined;
  /** Blocks of the run that were delivered. */
  #delivered = 0;
  #frameBytes: number = peerLimits.firstFrameBytes;
  #payloadBytes = 0;
  readonly #keepsChunks: boolean;
  /** For blocks that come in pieces: nobody keeps them. */
  #scratch: Buffer | undefined;

  /** `keepsChunks`: what arrives may be kept; else its memory is used again as soon as `push` returns. */
  constructor({ keepsChunks }: { keepsChunks: boolean }) {
    this.#keepsChunks = keepsChunks;
  }

  /** The peer is known: from here its frames may be as long as the protocol has them. */
  admit(): void {
    this.#frameBytes = peerLimits.frameBytes;
    this.#payloadBytes = peerLimits.payloadBytes;
  }

  /**
   * Delivers each frame, and each block of a run, that is complete with `chunk`, which is the reader's from
   * here. Throws EPROTO on anything that is no frame.
   */
  push(chunk: Buffer, deliver: Delivery): void {
    let at = 0;
    while (at < chunk.length) {
      const { whole, next } = this.#part.take(chunk, at);
      at = next;
      if (whole !== undefined) this.#completed(whole, deliver);
    }
  }

  #completed(whole: Buffer, deliver: Delivery): void {
    switch (this.#state) {
      case 'header':
        this.#announced(whole);
        return;
      case 'body':
        if (isRun(whole)) this.#begin(decodeRun(whole, this.#payloadLength), deliver);
        else {
          this.#body = decodeBody(whole);
          if (this.#payloadLength > 0) this.#expect('payload', this.#payloadLength);
          else this.#finish(undefined, deliver);
        }
        return;
      case 'payload':
        if (this.#run === undefined) this.#finish(this.#owned(whole), deliver);
        else this.#nextBlock(this.#run, whole, deliver);
    }
  }

  #begin(run: IncomingRun, deliver: Delivery): void {
    if (this.#payloadLength === 0) {
      this.#expect('header', header.size);
      for (let at = 0; at < run.count; at++) deliver.block(run, at, undefined);
      return;
    }
    this.#run = run;
    this.#delivered = 0;
    this.#expectBlock(run);
  }

  #expectBlock({ blockBytes }: IncomingRun): void {
    this.#scratch ??= Buffer.allocUnsafeSlow(peerLimits.payloadBytes);
    this.#state = 'payload';
    this.#part = new Part(Math.min(blockBytes, this.#payloadLength), this.#scratch);
  }

  /** A block is handed over as soon as it is there, whatever follows in its frame. */
  #nextBlock(run: IncomingRun, payload: Buffer, deliver: Delivery): void {
    const at = this.#delivered++;
    this.#payloadLength -= payload.length;
    if (this.#payloadLength > 0) this.#expectBlock(run);
    else {
      this.#run = undefined;
      this.#expect('header', header.size);
    }
    deliver.block(run, at, payload);
  }

  /** A few bytes that somebody keeps must not keep the 64 KiB that they came in. */
  #owned(bytes: Buffer): Uint8Array {
    const isOwn = bytes.length * 2 >= bytes.buffer.byteLength;
    return isOwn && this.#keepsChunks ? bytes : new Uint8Array(bytes);
  }

  #announced(bytes: Buffer): void {
    headerBytes.set(bytes);
    const { length, payloadLength } = lengths;
    if (length === 0 || length > this.#frameBytes || payloadLength > this.#payloadBytes) {
      const why = `a frame of ${length} bytes with a payload of ${payloadLength}`;
      throw new FsError('EPROTO', 'decode', { why });
    }
    this.#payloadLength = payloadLength;
    this.#expect('body', length);
  }

  #finish(payload: Uint8Array | undefined, deliver: Delivery): void {
    const body = this.#body;
    this.#body = [];
    this.#expect('header', header.size);
    deliver.frame({ body, payload });
  }

  #expect(state: 'header' | 'body' | 'payload', length: number): void {
    this.#state = state;
    this.#part = new Part(length);
  }
}
