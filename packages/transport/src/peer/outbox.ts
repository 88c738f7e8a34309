/**
 * What a link has to send, in the order in which it was given, and within bounds.
 *
 * While more than `queuedBytes` wait for a peer that does not read, a request waits for its turn: it is not
 * even encoded, and costs what its caller holds. Events and replies behind it wait with it, so that order is
 * kept; they cannot be put off, and beyond `hardQueuedBytes` of them the link ends.
 *
 * INVARIANT: nothing is written past `#turn` while somebody is in it.
 */
import type { Duplex } from 'node:stream';
import type { OutgoingFrame } from './peer-frame.ts';
import { peerLimits } from './peer-limits.ts';

interface InTurn {
  /** What it holds of this process. */
  readonly bytes: number;
  /** Undefined when there is nothing to send any more. */
  take(): OutgoingFrame | undefined;
}

export class Outbox {
  readonly #socket: Duplex;
  readonly #turn: InTurn[] = [];
  #turnBytes = 0;
  #corked = false;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /** What waits for the peer to read. */
  get queuedBytes(): number {
    return this.#socket.writableLength + this.#turnBytes;
  }

  /** Sends an event or a reply. False when the peer has not read for so long that the link must end. */
  send(frame: OutgoingFrame): boolean {
    if (this.#turn.length === 0) {
      this.#write(frame);
    } else {
      this.#turn.push({ bytes: frame.bytes, take: () => frame });
      this.#turnBytes += frame.bytes;
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
    this.#turn.length = 0;
    this.#turnBytes = 0;
  }

  #isFull(): boolean {
    return this.#socket.writableLength >= peerLimits.queuedBytes;
  }

  #write({ head, payload }: OutgoingFrame): void {
    // What is said in one turn of the event loop leaves with one system call.
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      queueMicrotask(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    if (payload === undefined) {
      this.#socket.write(head, this.#onWritten);
    } else {
      this.#socket.write(head);
      this.#socket.write(payload, this.#onWritten);
    }
  }

  /** Also called with an error; then the link hears of it from the socket. */
  readonly #onWritten = (): void => {
    while (this.#turn.length > 0 && !this.#isFull()) {
      const next = this.#turn.shift() as InTurn;
      this.#turnBytes -= next.bytes;
      const frame = next.take();
      if (frame !== undefined) this.#write(frame);
    }
  };
}
