/**
 * What a link has to send, in the order in which it was given, and within bounds.
 *
 * What is said in one turn of the event loop leaves with one system call: small messages as one piece,
 * blocks that follow each other as one run. Much of it leaves at once, so that the peer begins meanwhile.
 *
 * While more than `queuedBytes` wait for a peer that does not read, a request waits for its turn: it is not
 * even encoded, and costs what its caller holds. Events and replies behind it wait with it, so that order is
 * kept; they cannot be put off, and beyond `hardQueuedBytes` of them the link ends.
 *
 * INVARIANT: nothing is written past `#turn` while somebody is in it.
 */
import type { Socket } from 'node:net';
import { FsError } from '../errors.ts';
import * as native from '../native.ts';
import { type BlockMessage, type BlockPayload, OutgoingRun } from './block-run.ts';
import { encodeRunFrame, type OutgoingFrame } from './peer-frame.ts';
import { peerLimits } from './peer-limits.ts';
import { plainDescriptorOf } from './plain-descriptor.ts';

/** To copy so much is cheaper than to hand over several pieces. */
const joinedBytes = 16 * 1024;
/** So much is not kept until the end of the turn. */
const batchBytes = 256 * 1024;

const done = Promise.resolve();

interface InTurn {
  /** What it holds of this process. */
  readonly bytes: number;
  /** To be told that they will not leave. */
  readonly left?: readonly (() => void)[];
  /** Undefined when there is nothing to send any more. */
  take(): OutgoingFrame | undefined;
}

export class Outbox {
  readonly #socket: Socket;
  readonly #turn: InTurn[] = [];
  #turnBytes = 0;
  /** What leaves at the end of this turn of the event loop. */
  #batch: Uint8Array[] = [];
  #batchBytes = 0;
  #left: (() => void)[] = [];
  /** The end of the batch: blocks, to which more may be added. */
  #run: OutgoingRun | undefined;
  #willFlush = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** What waits for the peer to read. */
  get queuedBytes(): number {
    return this.#writtenBytes + this.#turnBytes;
  }

  get #writtenBytes(): number {
    return this.#socket.writableLength + this.#batchBytes + (this.#run?.payloadBytes ?? 0);
  }

  /** Whether something waits for its turn. */
  get isWaiting(): boolean {
    return this.#turn.length > 0;
  }

  /** Sends an event or a reply. False when the peer has not read for so long that the link must end. */
  send(frame: OutgoingFrame): boolean {
    if (this.#turn.length === 0) this.#write(frame);
    else this.#wait(frame);
    return this.queuedBytes <= peerLimits.hardQueuedBytes;
  }

  /** As `send`, of a message of a block. */
  sendBlock(type: number, message: BlockMessage, payload: BlockPayload): boolean {
    if (this.#turn.length > 0) this.#wait(encodeRunFrame(new OutgoingRun(type, message, payload)));
    else {
      if (this.#run?.add(type, message, payload) !== true) {
        this.#endRun();
        this.#run = new OutgoingRun(type, message, payload);
      }
      this.#flushLater();
    }
    return this.queuedBytes <= peerLimits.hardQueuedBytes;
  }

  /** Sends a request when its turn has come: `take` gives it then, at the latest moment. */
  sendInTurn(take: () => OutgoingFrame | undefined): void {
    if (this.#turn.length > 0 || this.#isFull()) {
      this.#turn.push({ bytes: 0, take });
      return;
    }
    const frame = take();
    if (frame !== undefined) this.#write(frame);
  }

  /** Forgets who waits. */
  clear(): void {
    for (const { left = [] } of this.#turn.splice(0)) for (const give of left) give();
    this.#turnBytes = 0;
  }

  #isFull(): boolean {
    return this.#writtenBytes >= peerLimits.queuedBytes;
  }

  #wait(frame: OutgoingFrame): void {
    const { bytes, left = [] } = frame;
    this.#turn.push({ bytes, left, take: () => frame });
    this.#turnBytes += bytes;
  }

  #write(frame: OutgoingFrame): void {
    this.#endRun();
    this.#add(frame);
    this.#flushLater();
  }

  #endRun(): void {
    const run = this.#run;
    this.#run = undefined;
    if (run !== undefined) this.#add(encodeRunFrame(run));
  }

  #add({ head, payloads, bytes, left = [] }: OutgoingFrame): void {
    this.#batch.push(head, ...payloads);
    this.#batchBytes += bytes;
    this.#left.push(...left);
  }

  #flushLater(): void {
    if (this.#batchBytes + (this.#run?.payloadBytes ?? 0) >= batchBytes) this.flush();
    if (this.#willFlush) return;
    this.#willFlush = true;
    // queueMicrotask would make an AsyncResource for each.
    void done.then(this.#flushNow);
  }

  readonly #flushNow = (): void => {
    this.#willFlush = false;
    this.flush();
  };

  /** Writes what was given until now. */
  flush(): void {
    this.#endRun();
    const batch = this.#batch;
    if (batch.length === 0) return;
    const bytes = this.#batchBytes;
    const left = this.#left;
    this.#batch = [];
    this.#batchBytes = 0;
    this.#left = [];
    if (this.#socket.destroyed) {
      for (const give of left) give();
      return;
    }
    const sent = this.#sendNow(batch);
    if (sent === bytes) {
      for (const give of left) give();
      if (this.#turn.length > 0) this.#takeTurns();
      return;
    }
    const rest = sent === 0 ? batch : restOf(batch, sent);
    // Also called with an error; then the link hears of it from the socket.
    const onWritten = (): void => {
      for (const give of left) give();
      this.#takeTurns();
    };
    if (bytes - sent <= joinedBytes) {
      this.#socket.write(rest.length === 1 ? (rest[0] as Uint8Array) : Buffer.concat(rest), onWritten);
      return;
    }
    this.#socket.cork();
    const last = rest.pop() as Uint8Array;
    for (const part of rest) this.#socket.write(part);
    this.#socket.write(last, onWritten);
    this.#socket.uncork();
  }

  /**
   * Past the stream, where it has nothing to send itself: what it does about a write takes as long as the
   * write. How many bytes have left.
   */
  #sendNow(batch: readonly Uint8Array[]): number {
    const fd = plainDescriptorOf(this.#socket);
    if (fd === undefined || this.#socket.writableLength > 0 || batch.length > native.mostParts) return 0;
    try {
      return native.sendParts(fd, batch) ?? 0;
    } catch (error) {
      // The stream finds the same, and tells whom it concerns.
      if (!(error instanceof FsError)) throw error;
      return 0;
    }
  }

  #takeTurns(): void {
    while (this.#turn.length > 0 && !this.#isFull()) {
      const next = this.#turn.shift() as InTurn;
      this.#turnBytes -= next.bytes;
      const frame = next.take();
      if (frame !== undefined) this.#write(frame);
    }
  }
}

/** What is left of the parts after so many bytes. */
function restOf(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skip = bytes;
  const rest: Uint8Array[] = [];
  for (const part of parts) {
    if (skip < part.length) rest.push(part.subarray(skip));
    skip = Math.max(0, skip - part.length);
  }
  return rest;
}
