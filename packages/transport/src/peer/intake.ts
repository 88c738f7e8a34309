/**
 * Where the bytes of a connection arrive: one buffer that is used again and again. Without it each read makes
 * one of 64 KiB, and to clear those away costs a node more than to read them.
 */
import type { OnReadOpts } from 'node:net';

/** More than one block with its frame, so that most arrive in one piece. */
const bufferBytes = 256 * 1024;

export class Intake {
  /** For net.connect and tls.connect. */
  readonly onread: OnReadOpts;
  #take: (chunk: Buffer) => void = () => undefined;

  constructor() {
    const buffer = Buffer.allocUnsafeSlow(bufferBytes);
    this.onread = {
      buffer,
      callback: (bytes) => {
        this.#take(buffer.subarray(0, bytes));
        return true;
      },
    };
  }

  /** What arrives is `take`'s only while it runs. */
  pipe(take: (chunk: Buffer) => void): void {
    this.#take = take;
  }
}
