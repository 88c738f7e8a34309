/**
 * One Unix connection that speaks the wire table: requests with replies, events without, descriptors beside
 * both.
 *
 *   open ──close() or end of stream or a broken frame──▶ closed
 *
 * A connection never blocks and never uses the libuv thread pool: a session worker must be able to answer
 * while every thread of that pool sits in a page fault that only the worker's answer resolves.
 * INVARIANT: a descriptor that arrived belongs to exactly one of: the queue here, a handler that took it.
 */
import { type Codec, type FieldsOf, fromValues, toValues } from './codec.ts';
import { type ErrorCode, FsError } from './errors.ts';
import { encodeFrame, type Frame, FrameReader, limits } from './frame.ts';
import {
  type ErrorReply,
  type Event,
  type EventName,
  errorReply,
  events,
  type Reply,
  type Request,
  type RequestName,
  replyId,
  requests,
} from './messages.ts';
import * as native from './native.ts';
import type { Spinner } from './spinner.ts';

type Shape = Readonly<Record<string, Codec<unknown>>>;
const requestById = new Map<number, RequestName>();
const eventById = new Map<number, EventName>();
for (const [name, { id }] of Object.entries(requests)) requestById.set(id, name as RequestName);
for (const [name, { id }] of Object.entries(events)) eventById.set(id, name as EventName);

/** The request with that id; undefined when there is none. */
export const requestNameOf = (id: number): RequestName | undefined => requestById.get(id);

export type AnyRequest = {
  [N in RequestName]: { readonly name: N; readonly fields: Request<N> };
}[RequestName];
export type AnyEvent = { [N in EventName]: { readonly name: N; readonly fields: Event<N> } }[EventName];

/**
 * What the owner of a connection does with what arrives. Descriptors handed over are the handler's to close.
 */
export interface ConnectionHandlers {
  onRequest?(request: AnyRequest, id: number, descriptors: readonly number[], bytes: number): void;
  onEvent?(event: AnyEvent): void;
  /** After every batch of frames that one wake-up brought. */
  onBatchEnd?(): void;
  /**
   * The peer does not read, and what waits for it is dropped: events that it may be told now are its last.
   * Without this, or the second time, the connection is closed.
   */
  onOverflow?(reason: FsError): void;
  onClose?(reason: FsError): void;
}

/** What a peer may take of this process; several connections may share one. */
export interface Meter {
  /** For how many milliseconds a connection may be read now; 0 when it is the turn of others. */
  turnMs(): number;
  /** What a turn took. Returns for how many milliseconds nothing more is to be read. */
  spend(ms: number, messages: number): number;
  /**
   * Memory is kept for the peer, or given back when negative; `own` is what this connection keeps then. False
   * when that is more than the peer may have.
   */
  keep(bytes: number, own: number): boolean;
}

export interface ConnectionOptions {
  readonly meter?: Meter;
  /** The longest frame body that is taken, until `admit`. */
  readonly frameBytes?: number;
  /** The thread's; without it the thread sleeps between messages. */
  readonly spinner?: Spinner;
}

export interface RequestOptions {
  /** Descriptors that travel with the request. They stay the caller's too. */
  readonly descriptors?: readonly number[];
  /** Learns the request id, which `cancel` and `progress` name. */
  readonly onSent?: (id: number) => void;
  /** Sees the reply before anything that arrived behind it is handled: a promise comes later. */
  readonly onReply?: (reply: unknown) => void;
  /** Takes the descriptors that came with the reply; without it they are closed. */
  readonly onDescriptors?: (descriptors: readonly number[]) => void;
}

interface Waiting {
  readonly name: RequestName;
  resolve(reply: unknown, descriptors: readonly number[]): void;
  reject(error: Error): void;
}
interface Outgoing {
  readonly frame: Uint8Array;
  readonly descriptors: readonly number[];
}

const byeBody = (error: FsError): unknown[] => {
  const { code, why = error.message } = error;
  return [events.bye.id, 0, ...toValues(events.bye.fields, { code, why })];
};

/** Says why, as far as the socket takes it, and closes `fd`: for a peer that gets no connection. */
export function turnAway(fd: number, error: FsError): void {
  const frame = encodeFrame(byeBody(error), 0);
  try {
    native.sendMessage(fd, frame, 0, frame.length, []);
  } catch (failure) {
    // It has gone already.
    if (!(failure instanceof FsError)) throw failure;
  } finally {
    native.closeDescriptor(fd);
  }
}

const tooMuchKept = (): FsError =>
  new FsError('ENOBUFS', 'recvmsg', { why: 'too much is kept in memory for the connections of this user' });

/** Some hundred small requests. */
const receiveBytes = 16 * 1024;
/** After this long others have their turn: a peer that floods us keeps nobody waiting. */
const wakeUpMs = 2;

const done = Promise.resolve();

export class Connection {
  readonly fd: number;
  #handlers: ConnectionHandlers;
  #poll: native.DescriptorPoll;
  #reader = new FrameReader();
  #received: number[] = [];
  #waiting = new Map<number, Waiting>();
  #nextRequest = 1;
  #outgoing: Outgoing[] = [];
  #sentOfFirst = 0;
  #queuedBytes = 0;
  #flushScheduled = false;
  #hasOverflowed = false;
  #writable = true;
  #closed: FsError | undefined;
  readonly #buffer = Buffer.allocUnsafeSlow(receiveBytes);
  readonly #spinner: Spinner | undefined;
  readonly #meter: Meter | undefined;
  /** Bytes of an unfinished frame that the meter knows of. */
  #keptBytes = 0;
  #pause: NodeJS.Timeout | undefined;
  /** What was queued in one turn leaves together. */
  readonly #flushLater = (): void => {
    this.#flushScheduled = false;
    if (this.#closed === undefined && this.#writable) this.#flush();
  };

  /** Takes over `fd`, a connected stream socket. */
  constructor(
    fd: number,
    handlers: ConnectionHandlers = {},
    { meter, frameBytes = limits.frameBytes, spinner }: ConnectionOptions = {},
  ) {
    this.fd = fd;
    this.#handlers = handlers;
    this.#meter = meter;
    this.#spinner = spinner;
    this.#reader.frameBytes = frameBytes;
    this.#poll = native.pollDescriptor(fd, (bits) => this.#onPoll(bits));
    this.#watch();
  }

  /** The reason this connection is over, or undefined while it is open. */
  get closed(): FsError | undefined {
    return this.#closed;
  }

  /** Requests that have no answer yet. */
  get pendingRequests(): number {
    return this.#waiting.size;
  }

  setHandlers(handlers: ConnectionHandlers): void {
    this.#handlers = handlers;
  }

  /** The peer is known: from here its frames may be as long as the protocol has them. */
  admit(): void {
    this.#reader.frameBytes = limits.frameBytes;
  }

  /** Lets the process end although this connection is open. */
  unref(): void {
    this.#poll.unref();
  }

  ref(): void {
    this.#poll.ref();
  }

  /**
   * Sends a request and waits for its reply.
   *
   * @throws FsError with the code the peer answered, or ECONNRESET when the connection ends before the
   * answer.
   */
  request<N extends RequestName>(
    name: N,
    fields: FieldsOf<(typeof requests)[N]['fields']>,
    { descriptors = [], onSent, onReply, onDescriptors }: RequestOptions = {},
  ): Promise<Reply<N>> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const id = this.#nextRequest++;
    const { id: type, fields: shape } = requests[name];
    return new Promise((resolve, reject) => {
      const settle = (reply: unknown, received: readonly number[]): void => {
        if (onDescriptors !== undefined) onDescriptors(received);
        else for (const fd of received) native.closeDescriptor(fd);
        onReply?.(reply);
        resolve(reply as Reply<N>);
      };
      // Before it is queued: a queue that overflows closes the connection, and rejects who waits.
      this.#waiting.set(id, { name, resolve: settle, reject });
      this.#enqueue([type, id, ...toValues(shape, fields as never)], descriptors);
      this.#spinner?.expect();
      onSent?.(id);
    });
  }

  /** Sends an event. On a closed connection it is dropped: whoever would have acted on it is gone. */
  event<N extends EventName>(name: N, fields: FieldsOf<(typeof events)[N]['fields']>): void {
    if (this.#closed !== undefined) return;
    const { id, fields: shape } = events[name];
    this.#enqueue([id, 0, ...toValues(shape as Shape, fields as never)], []);
  }

  reply<N extends RequestName>(
    name: N,
    id: number,
    fields: FieldsOf<(typeof requests)[N]['reply']>,
    descriptors: readonly number[] = [],
  ): void {
    if (this.#closed !== undefined) return;
    this.#enqueue([replyId, id, ...toValues(requests[name].reply as Shape, fields as never)], descriptors);
    this.#spinner?.expect();
  }

  fail(id: number, error: FsError): void {
    if (this.#closed !== undefined) return;
    const { code, syscall, path, dest, why } = error;
    this.#enqueue(
      [errorReply.id, id, ...toValues(errorReply.fields, { code, syscall, path, dest, why })],
      [],
    );
  }

  close(reason: FsError = new FsError('ECONNRESET', 'close', { why: 'connection closed' })): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    this.#poll.close();
    native.closeDescriptor(this.fd);
    for (const fd of this.#received) native.closeDescriptor(fd);
    this.#received = [];
    this.#outgoing = [];
    clearTimeout(this.#pause);
    this.#meter?.keep(-this.#queuedBytes - this.#keptBytes, 0);
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(reason);
    this.#handlers.onClose?.(reason);
  }

  #watch(): void {
    this.#poll.watch({ readable: this.#pause === undefined, writable: !this.#writable });
  }

  #onPoll(bits: number): void {
    if ((bits & native.writableBit) !== 0) {
      this.#writable = true;
      this.#flush();
      if (this.#closed === undefined) this.#watch();
    }
    if (this.#closed === undefined && (bits & native.readableBit) !== 0) this.#receive();
  }

  #receive(turnMs: number = this.#meter?.turnMs() ?? wakeUpMs): void {
    // What is left unread wakes this up again in the next turn of the event loop.
    if (turnMs <= 0) return;
    const startMs = performance.now();
    let messages = 0;
    const deliver = (frame: Frame): void => {
      messages++;
      this.#deliver(frame);
    };
    try {
      while (this.#closed === undefined) {
        const count = native.receiveMessage(this.fd, this.#buffer, this.#received);
        if (count === undefined) break;
        if (count === 0) {
          this.close(new FsError('ECONNRESET', 'read', { why: 'the peer closed the connection' }));
          break;
        }
        if (this.#received.length > limits.frameDescriptors * 4) {
          throw new FsError('EPROTO', 'recvmsg', { why: 'descriptors that no message names' });
        }
        this.#reader.push(this.#buffer, deliver, count);
        this.#account();
        if (count < this.#buffer.length || performance.now() - startMs > turnMs) break;
      }
      if (this.#closed === undefined) this.#handlers.onBatchEnd?.();
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.close(error);
    }
    const pauseMs = this.#meter?.spend(performance.now() - startMs, messages) ?? 0;
    if (pauseMs > 0 && this.#closed === undefined) this.#pauseFor(pauseMs);
  }

  /** Tells the meter what of an unfinished frame is kept here now. */
  #account(): void {
    if (this.#meter === undefined || this.#closed !== undefined) return;
    const more = this.#reader.keptBytes - this.#keptBytes;
    if (more === 0) return;
    this.#keptBytes += more;
    if (!this.#meter.keep(more, this.#queuedBytes + this.#keptBytes)) throw tooMuchKept();
  }

  /** Leaves what the peer sends in the socket, where the peer waits for room. */
  #pauseFor(ms: number): void {
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#watch();
    }, ms);
    this.#watch();
  }

  /** Of a peer that takes nothing any more. */
  #receiveLast(): void {
    if (this.#closed === undefined) this.#receive(wakeUpMs);
    this.close(new FsError('ECONNRESET', 'write', { why: 'the peer closed the connection' }));
  }

  #deliver({ body, descriptorCount, bytes }: Frame): void {
    if (this.#closed !== undefined) return;
    if (descriptorCount > this.#received.length) {
      throw new FsError('EPROTO', 'recvmsg', { why: 'a message without its descriptors' });
    }
    const descriptors = this.#received.splice(0, descriptorCount);
    let taken = false;
    try {
      taken = this.#dispatch(body, descriptors, bytes);
    } finally {
      if (!taken) for (const fd of descriptors) native.closeDescriptor(fd);
    }
  }

  /** Returns whether the descriptors were handed to a handler. */
  #dispatch(body: readonly unknown[], descriptors: readonly number[], bytes: number): boolean {
    const [type, id, ...values] = body;
    if (typeof type !== 'number' || typeof id !== 'number') {
      throw new FsError('EPROTO', 'decode', { why: 'no message type' });
    }
    if (type === replyId || type === errorReply.id) return this.#settle(type, id, values, descriptors);
    const requestName = requestById.get(type);
    if (requestName !== undefined && this.#handlers.onRequest !== undefined) {
      const fields = fromValues(requests[requestName].fields as Shape, values, requestName);
      this.#handlers.onRequest({ name: requestName, fields } as AnyRequest, id, descriptors, bytes);
      return true;
    }
    const eventName = eventById.get(type);
    if (eventName === undefined) throw new FsError('EPROTO', 'decode', { why: `message type ${type}` });
    const fields = fromValues(events[eventName].fields as Shape, values, eventName);
    this.#handlers.onEvent?.({ name: eventName, fields } as AnyEvent);
    return false;
  }

  #settle(type: number, id: number, values: readonly unknown[], descriptors: readonly number[]): boolean {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined)
      throw new FsError('EPROTO', 'decode', { why: `a reply to no request (${id})` });
    this.#waiting.delete(id);
    if (type === replyId) {
      const reply = fromValues(requests[waiting.name].reply as Shape, values, waiting.name);
      waiting.resolve(reply, descriptors);
      return true;
    }
    const { code, syscall, path, dest, why } = fromValues(errorReply.fields, values, 'error') as ErrorReply;
    waiting.reject(new FsError(code as ErrorCode, syscall, { path, dest, why }));
    return false;
  }

  #enqueue(body: readonly unknown[], descriptors: readonly number[]): void {
    const frame = encodeFrame(body, descriptors.length);
    this.#outgoing.push({ frame, descriptors });
    this.#queuedBytes += frame.length;
    if (this.#meter?.keep(frame.length, this.#queuedBytes + this.#keptBytes) === false) {
      this.#overflow(tooMuchKept());
      return;
    }
    if (this.#queuedBytes > limits.queuedBytes) {
      this.#overflow(new FsError('EPIPE', 'write', { why: 'the peer does not read' }));
      return;
    }
    if (this.#flushScheduled || !this.#writable) return;
    this.#flushScheduled = true;
    // queueMicrotask would make an AsyncResource for each.
    void done.then(this.#flushLater);
  }

  #overflow(reason: FsError): void {
    const { onOverflow } = this.#handlers;
    if (onOverflow === undefined || this.#hasOverflowed) {
      this.close(reason);
      return;
    }
    this.#hasOverflowed = true;
    // The rest of a frame that has begun must come, or nothing behind it is understood.
    this.#outgoing.length = this.#sentOfFirst > 0 ? 1 : 0;
    const left = this.#outgoing[0]?.frame.length ?? 0;
    this.#meter?.keep(left - this.#queuedBytes, left + this.#keptBytes);
    this.#queuedBytes = left;
    onOverflow(reason);
  }

  #flush(): void {
    try {
      while (this.#outgoing.length > 0 && this.#closed === undefined) {
        const { bytes, descriptors, frames } = this.#nextWrite();
        const start = this.#sentOfFirst;
        const sent = native.sendMessage(
          this.fd,
          bytes,
          start,
          bytes.length - start,
          start === 0 ? descriptors : [],
        );
        if (sent === undefined || sent < bytes.length - start) {
          // What did not fit stays at the front as one frame; its descriptors went with its first byte.
          const unsent = sent === undefined ? descriptors : [];
          this.#outgoing.splice(0, frames, { frame: bytes, descriptors: unsent });
          this.#sentOfFirst = start + (sent ?? 0);
          this.#writable = false;
          this.#watch();
          return;
        }
        this.#outgoing.splice(0, frames);
        this.#queuedBytes -= bytes.length;
        this.#meter?.keep(-bytes.length, this.#queuedBytes + this.#keptBytes);
        this.#sentOfFirst = 0;
      }
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      if (error.code !== 'EPIPE') this.close(error);
      // The peer is gone; what it said before that is still to be read.
      else queueMicrotask(() => this.#receiveLast());
    }
  }

  /** As many queued frames as may share one system call: descriptors travel with the first byte of theirs. */
  #nextWrite(): { bytes: Uint8Array; descriptors: readonly number[]; frames: number } {
    const first = this.#outgoing[0] as Outgoing;
    let frames = 1;
    while (
      this.#sentOfFirst === 0 &&
      frames < this.#outgoing.length &&
      (this.#outgoing[frames] as Outgoing).descriptors.length === 0
    )
      frames++;
    if (frames === 1) return { bytes: first.frame, descriptors: first.descriptors, frames };
    const bytes = Buffer.concat(this.#outgoing.slice(0, frames).map((o) => o.frame));
    return { bytes, descriptors: first.descriptors, frames };
  }
}
