/** Requests of the peer that have no answer yet. */
import type { FsError } from '../errors.ts';
import { broken } from './broken.ts';
import { peerLimits } from './peer-limits.ts';
import { isBulk, type PeerRequestName } from './peer-messages.ts';
import { type AnyPeerRequest, Arrived, type Outcome } from './peer-request.ts';

interface Arriving {
  readonly id: number;
  readonly name: PeerRequestName;
  readonly fields: unknown;
  readonly payload: Uint8Array | undefined;
}

export class ArrivedRequests {
  readonly #byId = new Map<number, Arrived>();
  #bulkCount = 0;
  #onEmpty: (() => void) | undefined;

  get size(): number {
    return this.#byId.size;
  }

  /** `send` takes its answer, unless the link has ended. EPROTO when the peer may not ask that now. */
  add({ id, name, fields, payload }: Arriving, send: (outcome: Outcome) => void): AnyPeerRequest {
    const bulk = isBulk(name);
    if (this.#byId.has(id)) throw broken(`a second request ${id}`);
    if (
      this.#byId.size >= peerLimits.pendingRequests ||
      (bulk && this.#bulkCount >= peerLimits.bulkRequests)
    ) {
      throw broken('more requests than may have no answer');
    }
    const arrived: Arrived = new Arrived({
      name,
      fields,
      payload,
      answer: (outcome) => {
        if (this.#byId.get(id) !== arrived) return;
        this.#byId.delete(id);
        if (bulk) this.#bulkCount--;
        send(outcome);
        if (this.#byId.size === 0) this.#onEmpty?.();
      },
    });
    this.#byId.set(id, arrived);
    if (bulk) this.#bulkCount++;
    return arrived as unknown as AnyPeerRequest;
  }

  /** Nobody waits for it any more. */
  abort(id: number, reason: FsError): void {
    this.#byId.get(id)?.abort(reason);
  }

  /** The link has ended. */
  abortAll(reason: FsError): void {
    for (const arrived of this.#byId.values()) arrived.abort(reason);
    this.#byId.clear();
    this.#onEmpty?.();
  }

  /** When all are answered, or after `withinMs`. */
  async empty(withinMs: number): Promise<void> {
    if (this.#byId.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
      timer = setTimeout(resolve, withinMs);
    });
    clearTimeout(timer);
  }
}
