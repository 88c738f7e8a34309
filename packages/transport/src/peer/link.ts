/**
 * One connection between two nodes: requests with replies, events without, payloads beside both.
 *
 *   greeting ──admit()──▶ open ──close(), silence, end of stream, a broken frame──▶ closed
 *                          └──refuse()──▶ refusing ──quit()────────────────────────────▲
 *
 * Order: messages arrive in the order in which they were given to the link, and are handed over in it. Only a
 * bulk request beyond `bulkRequests` unanswered ones is sent later, when an answer makes room, and what was
 * given to the link after it may pass it: replies must never wait for answers.
 *
 * INVARIANT: every request is settled exactly once: by its reply, its error, its signal, or with ECONNRESET,
 * ETIMEDOUT or EAGAIN when the link ends; with EAGAIN only when the peer has not begun it.
 * INVARIANT: before `admit` nothing but hello, its reply and bye is understood.
 */
import type { Socket } from 'node:net';
import { type Codec, type FieldsOf, fromValues, toValues } from '../codec.ts';
import { assert, type ErrorCode, FsError } from '../errors.ts';
import { type ErrorReply, errorReply, replyId } from '../messages.ts';
import { ArrivedRequests } from './arrived.ts';
import type { BlockMessage, BlockPayload, IncomingRun } from './block-run.ts';
import { broken } from './broken.ts';
import { checkVersion, identityIn } from './handshake.ts';
import { Heartbeat, type HeartbeatOptions } from './heartbeat.ts';
import type { Intake } from './intake.ts';
import { Outbox } from './outbox.ts';
import { type Delivery, encodePeerFrame, type PeerFrame, PeerFrameReader } from './peer-frame.ts';
import { peerLimits } from './peer-limits.ts';
import {
  isBulk,
  mayHavePayload,
  type PeerEventName,
  type PeerEvents,
  type PeerIdentity,
  type PeerReply,
  type PeerRequestName,
  type PeerRequests,
  peerEventOf,
  peerEvents,
  peerProtocolVersion,
  peerRequestOf,
  peerRequests,
  replyMayHavePayload,
  runTypes,
} from './peer-messages.ts';
import type { AnyPeerEvent, AnyPeerRequest, PayloadOption } from './peer-request.ts';
import { endOf, type PendingRequest, PendingRequests } from './pending.ts';

type Shape = Readonly<Record<string, Codec<unknown>>>;

/** What the owner of a link does with what arrives. */
export interface PeerHandlers {
  /** Without it, requests fail with ENOTSUP. */
  onRequest?(request: AnyPeerRequest): void;
  /** The payload is the handler's; of `toHome` and `toHolder` only while it runs. */
  onEvent?(event: AnyPeerEvent): void;
  /** Once, when the link has ended, however it did. */
  onClose?(reason: FsError): void;
}

export interface PeerRequestOptions extends PayloadOption {
  /** Aborted, the request is rejected with its reason at once, and the peer is told. */
  readonly signal?: AbortSignal;
}

/** The answer to a request. The payload belongs to who asked. */
export interface PeerAnswer<N extends PeerRequestName> {
  readonly reply: PeerReply<N>;
  readonly payload: Uint8Array | undefined;
}

export interface PeerLinkOptions extends HeartbeatOptions {
  /** The other end, as errors name it. */
  readonly url: string;
  /** Where its bytes arrive; undefined for a socket that hands over chunks. */
  readonly intake?: Intake | undefined;
  /** Takes `hello` while the peer is not admitted; who connected has none. */
  readonly onHello?: (hello: PeerIdentity, welcome: (identity: PeerIdentity) => void) => void;
}

interface Asked {
  readonly name: PeerRequestName;
  readonly fields: object;
  readonly payload: Uint8Array | undefined;
  resolve(reply: unknown, payload: Uint8Array | undefined): void;
  reject(error: unknown): void;
}

export class PeerLink {
  /** The other end, as `tcp://host:port`. */
  readonly url: string;
  readonly #socket: Socket;
  readonly #options: PeerLinkOptions;
  readonly #outbox: Outbox;
  readonly #reader: PeerFrameReader;
  readonly #pending = new PendingRequests();
  readonly #arrived = new ArrivedRequests();
  /** What a request is refused with that arrives from here on. */
  #refusal: FsError | undefined;
  #handlers: PeerHandlers = {};
  #heartbeat: Heartbeat | undefined;
  #greeted = false;
  #peer: PeerIdentity | undefined;
  #nextRequest = 1;
  #nextPing = 1;
  #closed: FsError | undefined;

  /** Takes over `socket`, which is connected and as secure as it is going to be. */
  constructor(socket: Socket, options: PeerLinkOptions) {
    this.url = options.url;
    this.#socket = socket;
    this.#options = options;
    this.#outbox = new Outbox(socket);
    const { intake } = options;
    this.#reader = new PeerFrameReader({ keepsChunks: intake === undefined });
    if (intake === undefined) socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    else intake.pipe((chunk) => this.#onData(chunk));
    socket.on('end', () => this.#end(this.#reset('the peer closed the connection')));
    socket.on('close', () => this.#end(this.#reset('the connection is closed')));
    socket.on('error', (cause) => this.#end(this.#reset(cause.message, cause)));
  }

  /** Who the other node is. Requires: it is admitted, as every link is that its owner sees. */
  get peer(): PeerIdentity {
    assert(this.#peer !== undefined, 'the peer of a link that is not admitted');
    return this.#peer;
  }

  /** The reason this link is over, or undefined while it is open. */
  get closed(): FsError | undefined {
    return this.#closed;
  }

  /** Requests that have no answer yet, those that wait for their turn included. */
  get pendingRequests(): number {
    return this.#pending.size;
  }

  /** Bytes that wait for the peer to read. */
  get queuedBytes(): number {
    return this.#outbox.queuedBytes;
  }

  setHandlers(handlers: PeerHandlers): void {
    this.#handlers = handlers;
  }

  /** The peer is who it says: from here it may use the whole table. For the handshake. */
  admit(peer: PeerIdentity): void {
    assert(this.#peer === undefined, 'a second admission');
    this.#peer = peer;
    this.#reader.admit();
    if (this.#closed !== undefined) return;
    this.#heartbeat = new Heartbeat(
      {
        ping: () => this.#say('ping', { serial: this.#nextPing++ }, undefined),
        onSilent: (ms) => {
          const why = `nothing was heard of the peer for ${Math.round(ms)} ms`;
          this.#end(new FsError('ETIMEDOUT', 'read', { path: this.url, why }));
        },
      },
      this.#options,
    );
  }

  /**
   * Says hello. `onWelcome` is called before anything behind the welcome is looked at. For the handshake.
   */
  greet(identity: PeerIdentity, onWelcome: (welcome: PeerIdentity) => void): Promise<void> {
    const fields = { protocol: peerProtocolVersion, ...identity };
    return new Promise((resolve, reject) => {
      const welcomed = (reply: unknown): void => {
        onWelcome(identityIn(reply as PeerIdentity));
        resolve();
      };
      this.#ask({ name: 'hello', fields, payload: undefined, resolve: welcomed, reject });
    });
  }

  /**
   * Sends a request and waits for its answer. `fields` and `payload` are read when its turn to be sent has
   * come, and must stay as they are until it is answered.
   *
   * @throws FsError with the code that the peer answered, ECONNRESET or ETIMEDOUT when the link ends before
   * the answer, EAGAIN when too many have none, EMSGSIZE; or the reason of `signal`.
   */
  request<N extends Exclude<PeerRequestName, 'hello'>>(
    name: N,
    fields: FieldsOf<PeerRequests[N]['fields']>,
    { payload, signal }: PeerRequestOptions = {},
  ): Promise<PeerAnswer<N>> {
    assert(payload === undefined || mayHavePayload(peerRequests[name]), `${name} with a payload`);
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const giveUp = (): void => {
        if (pending !== undefined) this.#giveUp(pending);
        fail(signal?.reason);
      };
      const give = (reply: unknown, bytes: Uint8Array | undefined): void => {
        signal?.removeEventListener('abort', giveUp);
        resolve({ reply: reply as PeerReply<N>, payload: bytes });
      };
      const fail = (error: unknown): void => {
        signal?.removeEventListener('abort', giveUp);
        reject(error);
      };
      signal?.addEventListener('abort', giveUp, { once: true });
      const pending = this.#ask({ name, fields, payload, resolve: give, reject: fail });
    });
  }

  /**
   * Sends an event. On a link that has ended it is dropped: whoever would have acted on it is gone.
   * `payload` must stay as it is until it has left: of a block, `onLeft` says so; else only an answer to
   * something later shows it.
   */
  event<N extends AnyPeerEvent['name']>(
    name: N,
    fields: FieldsOf<PeerEvents[N]['fields']>,
    { payload, onLeft }: BlockPayload = {},
  ): void {
    assert(payload === undefined || mayHavePayload(peerEvents[name]), `${name} with a payload`);
    const { id } = peerEvents[name];
    if (runTypes.has(id)) this.#sendBlock(id, fields as BlockMessage, { payload, onLeft });
    else this.#say(name, fields, payload);
  }

  /** Ends the link: the peer is told why, requests fail, handlers hear `onClose`. */
  close(reason: FsError = new FsError('ECONNRESET', 'close', { path: this.url, why: 'closed' })): void {
    this.#end(reason, { sayBye: true });
  }

  /**
   * What the peer asks from here on fails with `reason`. Resolves when all that was begun is answered, or
   * after `withinMs`.
   */
  refuse(reason: FsError, withinMs: number): Promise<void> {
    this.#refusal = reason;
    return this.#arrived.empty(withinMs);
  }

  /** As `close`, for what was refused with; for ECONNRESET when something was begun and has no answer. */
  quit(): void {
    const reason = this.#refusal;
    assert(reason !== undefined, 'a link that refuses what it is asked');
    const isSaid = this.#arrived.size === 0 && !this.#outbox.isWaiting;
    this.close(isSaid ? reason : new FsError('ECONNRESET', reason.syscall, { why: reason.why }));
  }

  #ask({ name, fields, payload, resolve, reject }: Asked): PendingRequest | undefined {
    if (this.#closed !== undefined) {
      reject(endOf(this.#closed));
      return undefined;
    }
    const { id: type, fields: shape } = peerRequests[name];
    const id = this.#nextRequest++;
    const take = () => {
      if (pending.abandoned) return undefined;
      try {
        const frame = encodePeerFrame([type, id, ...toValues(shape as Shape, fields as never)], payload);
        pending.sent = true;
        return frame;
      } catch (error) {
        this.#pending.drop(pending);
        reject(error);
        return undefined;
      }
    };
    const send = (): void => this.#outbox.sendInTurn(take);
    const state = { sent: false, abandoned: false };
    const pending: PendingRequest = { id, name, bulk: isBulk(name), resolve, reject, send, ...state };
    try {
      this.#pending.add(pending);
    } catch (error) {
      reject(error);
    }
    return pending;
  }

  #giveUp(pending: PendingRequest): void {
    const isThere = this.#pending.abandon(pending);
    if (isThere) this.#say('cancel', { request: pending.id }, undefined);
  }

  #say(name: PeerEventName, fields: object, payload: Uint8Array | undefined): void {
    const { id, fields: shape } = peerEvents[name];
    this.#send([id, 0, ...toValues(shape as Shape, fields as never)], payload);
  }

  #sendBlock(type: number, message: BlockMessage, payload: BlockPayload): void {
    if (this.#closed !== undefined) payload.onLeft?.();
    else if (!this.#outbox.sendBlock(type, message, payload)) this.#endUnread();
  }

  #send(body: readonly unknown[], payload: Uint8Array | undefined): void {
    if (this.#closed !== undefined) return;
    if (!this.#outbox.send(encodePeerFrame(body, payload))) this.#endUnread();
  }

  #endUnread(): void {
    const why = `the peer does not read, ${this.#outbox.queuedBytes} bytes wait for it`;
    this.#end(new FsError('ENOBUFS', 'write', { path: this.url, why }));
  }

  #onData(chunk: Buffer): void {
    // What is said after the end is read and dropped, so that our last words arrive.
    if (this.#closed !== undefined) return;
    this.#heartbeat?.heard();
    try {
      this.#reader.push(chunk, this.#delivery);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      const { code, syscall, why } = error;
      // Who is not known yet is told nothing, but of the version: its hello was one.
      const sayBye = this.#peer !== undefined || code === 'EPROTONOSUPPORT';
      this.#end(new FsError(code, syscall, { path: this.url, why, cause: error }), { sayBye });
    }
  }

  readonly #delivery: Delivery = {
    frame: (frame) => this.#deliver(frame),
    block: (run, at, payload) => this.#onBlock(run, at, payload),
  };

  #onBlock({ type, first }: IncomingRun, at: number, payload: Uint8Array | undefined): void {
    if (this.#closed !== undefined) return;
    const name = peerEventOf(type) as 'toHome' | 'toHolder';
    if (this.#peer === undefined) throw broken(`${name} before hello`);
    const fields = at === 0 ? first : { ...first, number: first.number + at, index: first.index + at };
    this.#handlers.onEvent?.({ name, fields, payload });
  }

  #deliver({ body, payload }: PeerFrame): void {
    if (this.#closed !== undefined) return;
    const [type, id, ...values] = body;
    if (typeof type !== 'number' || typeof id !== 'number') throw broken('no message type');
    if (type === replyId || type === errorReply.id) {
      this.#settle({ type, id, values, payload });
      return;
    }
    const request = peerRequestOf(type);
    if (request === 'hello') this.#onHello(id, values);
    else if (request !== undefined) this.#onRequest(request, id, values, payload);
    else {
      const event = peerEventOf(type);
      if (event === undefined) throw broken(`message type ${type}`);
      this.#onEvent(event, values, payload);
    }
  }

  #onHello(id: number, values: readonly unknown[]): void {
    const { onHello } = this.#options;
    if (onHello === undefined || this.#greeted) throw broken('a hello');
    this.#greeted = true;
    checkVersion(values);
    const hello = fromValues(peerRequests.hello.fields, values, 'hello');
    onHello(identityIn(hello), (identity) => {
      const fields = { protocol: peerProtocolVersion, ...identity };
      this.#send([replyId, id, ...toValues(peerRequests.hello.reply as Shape, fields)], undefined);
    });
  }

  #onRequest(
    name: PeerRequestName,
    id: number,
    values: readonly unknown[],
    payload: Uint8Array | undefined,
  ): void {
    if (this.#peer === undefined) throw broken(`${name} before hello`);
    const entry = peerRequests[name];
    if (payload !== undefined && !mayHavePayload(entry)) throw broken(`${name} with a payload`);
    const fields = fromValues(entry.fields as Shape, values, name);
    const arrived = this.#arrived.add({ id, name, fields, payload }, (outcome) => {
      if (outcome instanceof FsError) this.#sendError(id, outcome);
      else this.#sendReply(name, id, outcome);
    });
    const { onRequest } = this.#handlers;
    if (this.#refusal !== undefined) arrived.fail(this.#refusal);
    else if (onRequest !== undefined) onRequest.call(this.#handlers, arrived);
    else arrived.fail(new FsError('ENOTSUP', name, { why: 'nobody answers this here' }));
  }

  #sendReply(
    name: PeerRequestName,
    id: number,
    { fields, payload }: { readonly fields: object; readonly payload: Uint8Array | undefined },
  ): void {
    assert(payload === undefined || replyMayHavePayload(name), `a reply to ${name} with a payload`);
    this.#send([replyId, id, ...toValues(peerRequests[name].reply as Shape, fields as never)], payload);
  }

  #sendError(id: number, { code, syscall, path, dest, why }: FsError): void {
    this.#send(
      [errorReply.id, id, ...toValues(errorReply.fields, { code, syscall, path, dest, why })],
      undefined,
    );
  }

  #onEvent(name: PeerEventName, values: readonly unknown[], payload: Uint8Array | undefined): void {
    const entry = peerEvents[name];
    if (this.#peer === undefined && name !== 'bye') throw broken(`${name} before hello`);
    if (payload !== undefined && !mayHavePayload(entry)) throw broken(`${name} with a payload`);
    const fields = fromValues(entry.fields as Shape, values, name) as Readonly<Record<string, unknown>>;
    switch (name) {
      case 'ping':
        this.#say('pong', fields, undefined);
        return;
      case 'pong':
        return;
      case 'bye':
        this.#end(new FsError(fields.code as ErrorCode, 'read', { path: this.url, why: `${fields.why}` }));
        return;
      case 'cancel':
        this.#arrived.abort(
          fields.request as number,
          new FsError('ECANCELED', 'request', { path: this.url, why: 'nobody waits for it' }),
        );
        return;
      default:
        this.#handlers.onEvent?.({ name, fields, payload } as AnyPeerEvent);
    }
  }

  #settle({
    type,
    id,
    values,
    payload,
  }: {
    readonly type: number;
    readonly id: number;
    readonly values: readonly unknown[];
    readonly payload: Uint8Array | undefined;
  }): void {
    const request = this.#pending.answered(id);
    const { name, abandoned } = request;
    if (type === errorReply.id) {
      if (payload !== undefined) throw this.#unsettled(request, broken('an error with a payload'));
      const { code, syscall, path, dest, why } = this.#decoded(
        request,
        errorReply.fields,
        values,
      ) as ErrorReply;
      if (!abandoned) request.reject(new FsError(code as ErrorCode, syscall, { path, dest, why }));
      return;
    }
    if (payload !== undefined && !replyMayHavePayload(name)) {
      throw this.#unsettled(request, broken(`a reply to ${name} with a payload`));
    }
    const reply = this.#decoded(request, peerRequests[name].reply as Shape, values);
    if (!abandoned) request.resolve(reply, payload);
  }

  /** The values of an answer; who waits for one that is broken hears of it as the end of the link. */
  #decoded(request: PendingRequest, shape: Shape, values: readonly unknown[]): unknown {
    try {
      if (request.name === 'hello' && shape !== errorReply.fields) checkVersion(values);
      return fromValues(shape, values, request.name);
    } catch (error) {
      throw error instanceof FsError ? this.#unsettled(request, error) : error;
    }
  }

  #unsettled(request: PendingRequest, error: FsError): FsError {
    if (!request.abandoned) request.reject(endOf(error));
    return error;
  }

  #end(reason: FsError, { sayBye = false }: { readonly sayBye?: boolean } = {}): void {
    if (this.#closed !== undefined) return;
    if (sayBye) this.#sayBye(reason);
    this.#closed = reason;
    this.#heartbeat?.stop();
    this.#outbox.clear();
    if (!sayBye) this.#socket.destroy();
    this.#pending.failAll(reason);
    this.#arrived.abortAll(endOf(reason));
    this.#handlers.onClose?.(reason);
  }

  /** The socket goes when the peer has closed its side too, or after a while. */
  #sayBye({ code, message, why = message }: FsError): void {
    const { id, fields } = peerEvents.bye;
    const body = [id, 0, ...toValues(fields, { code, why: why.slice(0, 1024) })];
    // Also when others wait for their turn: they are dropped now.
    this.#outbox.clear();
    this.#outbox.send(encodePeerFrame(body, undefined));
    this.#outbox.flush();
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), peerLimits.lingerMs).unref();
  }

  #reset(why: string, cause?: Error): FsError {
    const code =
      (cause as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT' ? 'ETIMEDOUT' : 'ECONNRESET';
    return new FsError(code, 'read', { path: this.url, why, cause });
  }
}
