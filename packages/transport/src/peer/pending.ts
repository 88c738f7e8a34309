/** Requests of a link that have no answer yet, and those that wait until one of the others has its answer. */
import { type ErrorCode, FsError } from '../errors.ts';
import { peerLimits } from './peer-limits.ts';
import type { PeerRequestName } from './peer-messages.ts';

export interface PendingRequest {
  readonly id: number;
  readonly name: PeerRequestName;
  readonly bulk: boolean;
  resolve(reply: unknown, payload: Uint8Array | undefined): void;
  reject(error: unknown): void;
  /** Gives it to the outbox. */
  send(): void;
  /** The peer has it, or part of it: it counts until its answer has come, whoever waits for that. */
  sent: boolean;
  /** Its caller has given up. */
  abandoned: boolean;
}

export class PendingRequests {
  readonly #byId = new Map<number, PendingRequest>();
  /** Bulk requests that are under way. */
  #bulkCount = 0;
  readonly #bulkTurn: PendingRequest[] = [];

  get size(): number {
    return this.#byId.size;
  }

  /** @throws FsError EAGAIN when there are too many. */
  add(request: PendingRequest): void {
    if (this.#byId.size >= peerLimits.pendingRequests) {
      throw new FsError('EAGAIN', 'request', { why: `${this.#byId.size} requests have no answer` });
    }
    this.#byId.set(request.id, request);
    if (request.bulk && this.#bulkCount >= peerLimits.bulkRequests) {
      this.#bulkTurn.push(request);
      return;
    }
    if (request.bulk) this.#bulkCount++;
    request.send();
  }

  /** Nobody waits for it any more. True when the peer should be told. */
  abandon(request: PendingRequest): boolean {
    request.abandoned = true;
    if (request.sent || !this.#byId.has(request.id)) return request.sent;
    const turn = this.#bulkTurn.indexOf(request);
    if (turn === -1) this.#remove(request);
    else {
      this.#bulkTurn.splice(turn, 1);
      this.#byId.delete(request.id);
    }
    return false;
  }

  /** The request that an answer is for, which is answered with it. Throws EPROTO when there is none. */
  answered(id: number): PendingRequest {
    const request = this.#byId.get(id);
    if (request === undefined || !request.sent) {
      throw new FsError('EPROTO', 'decode', { why: `a reply to no request (${id})` });
    }
    this.#remove(request);
    return request;
  }

  /** It will never be sent. */
  drop(request: PendingRequest): void {
    if (this.#byId.has(request.id)) this.#remove(request);
  }

  /** The link has ended: each fails as `endOf` has it. */
  failAll(reason: FsError): void {
    const requests = [...this.#byId.values()];
    this.#byId.clear();
    this.#bulkTurn.length = 0;
    this.#bulkCount = 0;
    const error = endOf(reason);
    for (const request of requests) if (!request.abandoned) request.reject(error);
  }

  #remove(request: PendingRequest): void {
    this.#byId.delete(request.id);
    if (!request.bulk) return;
    const next = this.#bulkTurn.shift();
    if (next === undefined) this.#bulkCount--;
    else next.send();
  }
}

/** What a request fails with by itself; with ECONNRESET when its link ends in any other way. */
const ends: ReadonlySet<ErrorCode> = new Set(['ECONNRESET', 'ETIMEDOUT', 'EAGAIN']);

/**
 * How a request fails because of how its link ended: EAGAIN when the peer has said that it was not begun,
 * ETIMEDOUT when the peer was silent, else ECONNRESET.
 */
export function endOf(reason: FsError): FsError {
  if (ends.has(reason.code)) return reason;
  return new FsError('ECONNRESET', 'request', { path: reason.path, why: reason.message, cause: reason });
}
