/**
 * Messages of blocks in their own form: there are thousands in a second, and what they carry is fixed. One
 * frame has the same message for several blocks that follow each other, which is how a file is read:
 *
 *   header │ block run: message, first number, first index, count ... │ bytes of block, bytes of block, ...
 *
 * It says what as many frames with one block each would say, in their order.
 *
 * INVARIANT: `type` is the first byte, and no list in msgpack begins with it.
 */
import { bytes, struct, u16, u32, u53 } from '../binary.ts';
import { FsError } from '../errors.ts';
import { broken } from './broken.ts';
import { peerLimits } from './peer-limits.ts';
import { type PeerEvent, runTypes } from './peer-messages.ts';

export const blockRun = struct('block run', 48, {
  type: u16('id of the event'),
  message: u16('which message of docs/coherence.md it is: its place in the table there, from 0'),
  blockBytes: u32('payload of each block, but for the last, which may have less; 0 without payload'),
  number: u53('of the message for the first block; the others follow'),
  received: u53('how far the sender has received'),
  index: u32('of the first block in the file; the others follow'),
  count: u32('of blocks, at least 1'),
  stag: bytes(16, 'names the file'),
});

/** `toHome` and `toHolder` have the same fields. */
export type BlockMessage = PeerEvent<'toHome'>;

/** The bytes of a block. */
export interface BlockPayload {
  readonly payload?: Uint8Array | undefined;
  /** Called when their memory is needed no more: they have left, or never will. */
  readonly onLeft?: (() => void) | undefined;
}

/** Blocks that leave in one frame. */
export class OutgoingRun {
  readonly #type: number;
  readonly #first: BlockMessage;
  readonly #payloads: Uint8Array[] = [];
  /** To be called when the payloads have left, or never will. */
  readonly left: (() => void)[] = [];
  readonly #blockBytes: number;
  #count = 1;
  #received: number;
  #payloadBytes = 0;

  constructor(type: number, first: BlockMessage, { payload, onLeft }: BlockPayload) {
    this.#type = type;
    this.#first = first;
    this.#received = first.received;
    this.#blockBytes = payload?.length ?? 0;
    this.#keep({ payload, onLeft });
  }

  get payloadBytes(): number {
    return this.#payloadBytes;
  }

  #keep({ payload, onLeft }: BlockPayload): void {
    const length = payload?.length ?? 0;
    if (length > peerLimits.payloadBytes)
      throw new FsError('EMSGSIZE', 'send', { why: `a payload of ${length} bytes` });
    if (onLeft !== undefined) this.left.push(onLeft);
    if (payload === undefined || length === 0) return;
    this.#payloads.push(payload);
    this.#payloadBytes += length;
  }

  /** Takes one more, if it is the next one. */
  add(type: number, message: BlockMessage, { payload, onLeft }: BlockPayload): boolean {
    const length = payload?.length ?? 0;
    const isNext =
      type === this.#type &&
      message.message === this.#first.message &&
      message.number === this.#first.number + this.#count &&
      message.index === this.#first.index + this.#count &&
      this.#count < peerLimits.runBlocks;
    // Only the last one may have less than the first.
    const isFull = this.#payloadBytes === this.#count * this.#blockBytes;
    const fits =
      length === 0
        ? this.#blockBytes === 0
        : isFull && length <= this.#blockBytes && this.#payloadBytes + length <= peerLimits.payloadBytes;
    if (!isNext || !fits || !isSame(message.stag, this.#first.stag)) return false;
    this.#count++;
    this.#received = message.received;
    this.#keep({ payload, onLeft });
    return true;
  }

  /** The body of its frame, in memory that is used again for the next one; and what comes behind it. */
  encode(): { readonly body: Uint8Array; readonly payloads: readonly Uint8Array[] } {
    const { message, number, index, stag } = this.#first;
    sent.type = this.#type;
    sent.message = message;
    sent.blockBytes = this.#blockBytes;
    sent.number = number;
    sent.received = this.#received;
    sent.index = index;
    sent.count = this.#count;
    sent.stag = stag;
    return { body: sentBytes, payloads: this.#payloads };
  }
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => a === b || Buffer.compare(a, b) === 0;

/** Blocks that arrive in one frame. */
export interface IncomingRun {
  readonly type: number;
  readonly first: BlockMessage;
  readonly count: number;
  readonly blockBytes: number;
}

/** Whether it is the body of a run. */
export const isRun = (body: Uint8Array): boolean => runTypes.has(body[0] ?? 0);

/** Throws EPROTO when it is none. */
export function decodeRun(body: Uint8Array, payloadLength: number): IncomingRun {
  if (body.length !== blockRun.size) throw broken(`a block run of ${body.length} bytes`);
  arrivedBytes.set(body);
  const { type, message, blockBytes, number, received, index, count } = arrived;
  const isWhole = runTypes.has(type) && count > 0 && count <= peerLimits.runBlocks;
  const isCounted = Number.isSafeInteger(number + count) && Number.isSafeInteger(received);
  if (!isWhole || !isCounted || index + count > 2 ** 32) throw broken('a block run');
  // Each has some, or none has.
  const most = count * blockBytes;
  if (payloadLength > most || (most > 0 && payloadLength <= most - blockBytes))
    throw broken(`${payloadLength} bytes for ${count} blocks of ${blockBytes}`);
  const first = { number, received, stag: new Uint8Array(arrived.stag), index, message };
  return { type, first, count, blockBytes };
}

const sentBytes = Buffer.alloc(blockRun.size);
const arrivedBytes = Buffer.alloc(blockRun.size);
const [sent, arrived] = [sentBytes, arrivedBytes].map(({ buffer, byteOffset, length }) =>
  blockRun.bind(new DataView(buffer, byteOffset, length)),
) as [ReturnType<typeof blockRun.bind>, ReturnType<typeof blockRun.bind>];
