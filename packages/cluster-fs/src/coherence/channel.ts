/**
 * Messages in order, each once, over links that break: what was sent and is not acknowledged is kept, and
 * sent again over the next link.
 *
 * A link is a TCP connection: what arrives over it is what was sent over it, in order, and then it ends. So
 * numbers matter only where one link follows another.
 *
 * INVARIANT: `received` is the number of the last message that was handed on; none before it was left out.
 */

/** What travels: a message, its number, and how far its sender has received. */
export interface Envelope<M> {
  readonly number: number;
  readonly message: M;
  readonly received: number;
}

interface Kept<M> {
  readonly number: number;
  readonly message: M;
}

/** Both directions at one end, for as long as the session of the two nodes lasts: what goes, what comes. */
export class Channel<Out, In> {
  /** Of the next message. */
  #next = 1;
  /** Sent, and perhaps not arrived; the oldest first. */
  #unacknowledged: Kept<Out>[] = [];
  #received = 0;

  /** The last message that arrived here. */
  get received(): number {
    return this.#received;
  }

  /** The last message that was posted. */
  get posted(): number {
    return this.#next - 1;
  }

  /** The last one of which the peer has said that it has it. */
  get acknowledged(): number {
    return this.posted - this.#unacknowledged.length;
  }

  /** What may not have arrived, the oldest first. */
  get unacknowledged(): readonly Out[] {
    return this.#unacknowledged.map(({ message }) => message);
  }

  /** Takes a message for the peer: to be sent over the link that is up, if one is. */
  post(message: Out): Envelope<Out> {
    const number = this.#next++;
    this.#unacknowledged.push({ number, message });
    return { number, message, received: this.#received };
  }

  /** The peer has received up to `number`. Throws when that was never sent. */
  acknowledge(number: number): void {
    if (number >= this.#next) throw new Error(`message ${number} is acknowledged and was never sent`);
    const [oldest] = this.#unacknowledged;
    if (oldest === undefined || oldest.number > number) return;
    // Their numbers follow each other.
    this.#unacknowledged.splice(0, number - oldest.number + 1);
  }

  /** The message; undefined when it came before, over another link. Throws when one is missing. */
  arrive({ number, message, received }: Envelope<In>): In | undefined {
    this.acknowledge(received);
    if (number <= this.#received) return undefined;
    if (number !== this.#received + 1) throw new Error(`message ${number} follows ${this.#received}`);
    this.#received = number;
    return message;
  }

  /** What goes first over a new link, to a peer that has received up to `received`. */
  resend(received: number): Envelope<Out>[] {
    this.acknowledge(received);
    return this.#unacknowledged.map((kept) => ({ ...kept, received: this.#received }));
  }
}
