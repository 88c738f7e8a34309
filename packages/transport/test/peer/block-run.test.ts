import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type BlockMessage, blockRun, OutgoingRun } from '../../src/peer/block-run.ts';
import { peerEvents, peerLimits } from '../../src/peer/index.ts';
import { type Delivery, encodeRunFrame, PeerFrameReader } from '../../src/peer/peer-frame.ts';

const type = peerEvents.toHolder.id;
const stag = randomBytes(16);
const message = (at: number, more: Partial<BlockMessage> = {}): BlockMessage => ({
  number: 7 + at,
  received: 3 + at,
  stag,
  index: 20 + at,
  message: 1,
  ...more,
});

const runOf = (payloads: readonly (Uint8Array | undefined)[]): OutgoingRun => {
  const run = new OutgoingRun(type, message(0), { payload: payloads[0] });
  for (const [at, payload] of payloads.entries())
    if (at > 0) expect(run.add(type, message(at), { payload })).toBe(true);
  return run;
};

const bytesOf = (run: OutgoingRun): Buffer => {
  const { head, payloads } = encodeRunFrame(run);
  return Buffer.concat([head, ...payloads]);
};

/** What comes out when the bytes arrive in pieces of that length, in memory that is used again. */
function read(bytes: Buffer, pieceBytes: number): { blocks: object[]; frames: number } {
  const blocks: object[] = [];
  let frames = 0;
  const delivery: Delivery = {
    frame: () => frames++,
    block: ({ first, type: id }, at, payload) =>
      blocks.push({
        id,
        at,
        number: first.number,
        stag: Buffer.from(first.stag),
        payload: payload && Buffer.from(payload),
      }),
  };
  const reader = new PeerFrameReader({ keepsChunks: false });
  reader.admit();
  const memory = Buffer.alloc(pieceBytes);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const length = bytes.copy(memory, 0, at, at + pieceBytes);
    reader.push(memory.subarray(0, length), delivery);
  }
  return { blocks, frames };
}

const block = (at: number, payload: Uint8Array | undefined) => ({
  id: type,
  at,
  number: 7,
  stag: Buffer.from(stag),
  payload,
});

describe('a run of blocks', () => {
  test.each([1, 7, 55, 56, 57, 1000, 4096, 100_000])(
    'arrives block by block, in pieces of %i bytes',
    (pieceBytes) => {
      const payloads = [...Array.from({ length: 5 }, () => randomBytes(4096)), randomBytes(100)];
      const bytes = Buffer.concat([bytesOf(runOf(payloads)), bytesOf(runOf(payloads.slice(5)))]);
      const { blocks, frames } = read(bytes, pieceBytes);
      expect(blocks).toEqual([...payloads.map((payload, at) => block(at, payload)), block(0, payloads[5])]);
      expect(frames).toBe(0);
    },
  );

  test('without payload is one small frame', () => {
    const bytes = bytesOf(runOf(Array.from({ length: peerLimits.runBlocks }, () => undefined)));
    expect(bytes.length).toBe(8 + blockRun.size);
    expect(read(bytes, 10).blocks).toEqual(
      Array.from({ length: peerLimits.runBlocks }, (_, at) => block(at, undefined)),
    );
  });

  test('takes what comes next, and nothing else', () => {
    const payload = randomBytes(4096);
    const run = runOf([payload, payload]);
    const strangers: [number, BlockMessage, Uint8Array | undefined][] = [
      [peerEvents.toHome.id, message(2), payload],
      [type, message(2, { number: 10 }), payload],
      [type, message(2, { index: 23 }), payload],
      [type, message(2, { message: 2 }), payload],
      [type, message(2, { stag: randomBytes(16) }), payload],
      [type, message(2), undefined],
      [type, message(2), randomBytes(4097)],
    ];
    for (const [id, other, bytes] of strangers) expect(run.add(id, other, { payload: bytes })).toBe(false);
    expect(run.add(type, message(2), { payload: payload.subarray(1) })).toBe(true);
    // The last one had less.
    expect(run.add(type, message(3), { payload })).toBe(false);
  });

  test('is as long as a frame may be', () => {
    const payload = Buffer.alloc(65_536);
    const blocks = peerLimits.payloadBytes / payload.length;
    const run = runOf(Array.from({ length: blocks }, () => payload));
    expect(run.add(type, message(blocks), { payload })).toBe(false);
    const asking = runOf(Array.from({ length: peerLimits.runBlocks }, () => undefined));
    expect(asking.add(type, message(peerLimits.runBlocks), {})).toBe(false);
  });
});

describe('what is no run is refused:', () => {
  const { count, blockBytes, number, index } = blockRun.offset;
  const changed = (change: (body: Buffer) => void): Buffer => {
    const bytes = bytesOf(runOf([randomBytes(4096), randomBytes(4096)]));
    change(bytes.subarray(8));
    return bytes;
  };

  test.each<[string, (body: Buffer) => void]>([
    ['no blocks', (body) => body.fill(0, count, count + 4)],
    ['more blocks than may be', (body) => body.fill(1, count, count + 4)],
    ['more blocks than payload', (body) => body.fill(3, count, count + 1)],
    ['fewer blocks than payload', (body) => body.fill(1, count, count + 1)],
    ['payload for blocks without', (body) => body.fill(0, blockBytes, blockBytes + 4)],
    ['a number that is none', (body) => body.fill(255, number, number + 8)],
    ['blocks that no file has', (body) => body.fill(255, index, index + 4)],
    ['an event of another kind', (body) => body.fill(1, 1, 2)],
  ])('%s', (_, change) => {
    expect(() => read(changed(change), 10_000)).toThrow(expect.objectContaining({ code: 'EPROTO' }));
  });

  test('a body of another length', () => {
    const body = bytesOf(runOf([undefined])).subarray(8, 8 + blockRun.size - 1);
    const header = Buffer.from([body.length, 0, 0, 0, 0, 0, 0, 0]);
    expect(() => read(Buffer.concat([header, body]), 10_000)).toThrow(
      expect.objectContaining({ code: 'EPROTO' }),
    );
  });
});
