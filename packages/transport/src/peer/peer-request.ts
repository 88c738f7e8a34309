/** A request of the other node, as its handler sees it: to be answered exactly once. */
import type { FieldsOf } from '../codec.ts';
import { assert, type FsError } from '../errors.ts';
import type {
  PeerEvent,
  PeerEventName,
  PeerRequest,
  PeerRequestName,
  PeerRequests,
} from './peer-messages.ts';

export interface PayloadOption {
  /** Bytes beside the fields. They must stay as they are until they have left: with the answer, they have. */
  readonly payload?: Uint8Array;
}

/** What arrived, with the ways to answer it. */
export interface ArrivedRequest<N extends PeerRequestName> {
  readonly name: N;
  readonly fields: PeerRequest<N>;
  /** Belongs to the handler. */
  readonly payload: Uint8Array | undefined;
  /** Aborted when nobody waits for the answer any more, or the link has ended. */
  readonly signal: AbortSignal;
  /** On a link that has ended it does nothing: nobody waits. */
  reply(fields: FieldsOf<PeerRequests[N]['reply']>, options?: PayloadOption): void;
  /** Answers with an error: its code, syscall, paths and reason travel. */
  fail(error: FsError): void;
}

/** The handshake is none of the handlers' business. */
export type AnyPeerRequest = {
  [N in Exclude<PeerRequestName, 'hello'>]: ArrivedRequest<N>;
}[Exclude<PeerRequestName, 'hello'>];

type EventForHandlers = Exclude<PeerEventName, 'ping' | 'pong' | 'bye' | 'cancel'>;
export type AnyPeerEvent = {
  [N in EventForHandlers]: {
    readonly name: N;
    readonly fields: PeerEvent<N>;
    readonly payload: Uint8Array | undefined;
  };
}[EventForHandlers];

/** A reply, or why there is none. */
export type Outcome = { readonly fields: object; readonly payload: Uint8Array | undefined } | FsError;

interface Answering {
  readonly name: PeerRequestName;
  readonly fields: unknown;
  readonly payload: Uint8Array | undefined;
  answer(outcome: Outcome): void;
}

export class Arrived {
  readonly name: PeerRequestName;
  readonly fields: unknown;
  readonly payload: Uint8Array | undefined;
  readonly #answering: Answering;
  #answered = false;
  /** Made for who asks: most handlers do not. */
  #controller: AbortController | undefined;
  #abortReason: unknown;

  constructor(answering: Answering) {
    this.name = answering.name;
    this.fields = answering.fields;
    this.payload = answering.payload;
    this.#answering = answering;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    return this.#controller.signal;
  }

  abort(reason: FsError): void {
    this.#abortReason = reason;
    this.#controller?.abort(reason);
  }

  reply(fields: object, { payload }: PayloadOption = {}): void {
    this.#answerOnce();
    this.#answering.answer({ fields, payload });
  }

  fail(error: FsError): void {
    this.#answerOnce();
    this.#answering.answer(error);
  }

  #answerOnce(): void {
    assert(!this.#answered, `a second answer to ${this.name}`);
    this.#answered = true;
  }
}
