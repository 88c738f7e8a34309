import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeFrame, type Frame, FrameReader, limits } from '../src/frame.ts';

const value = fc.oneof(
  fc.integer(),
  fc.maxSafeNat(),
  fc.double({ noNaN: true }),
  fc.string(),
  fc.boolean(),
  fc.constant(null),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
);
const body = fc.array(fc.oneof(value, fc.array(value, { maxLength: 5 })), { maxLength: 6 });

/** Cuts bytes at random places; the pieces are all that arrives. */
const cuts = fc.array(fc.nat(4000), { maxLength: 30 });

function readAll(pieces: readonly Uint8Array[]): Frame[] {
  const frames: Frame[] = [];
  const reader = new FrameReader();
  for (const piece of pieces) reader.push(piece, (frame) => frames.push(frame));
  return frames;
}

function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const sorted = [
    0,
    ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b),
    bytes.length,
  ];
  return sorted.slice(1).map((end, i) => bytes.subarray(sorted[i], end));
}

describe('frames', () => {
  test('arrive whole and in order, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(body, fc.nat(4)), { maxLength: 6 }), cuts, (messages, places) => {
        const stream = Buffer.concat(
          messages.map(([content, descriptors]) => encodeFrame(content, descriptors)),
        );
        const frames = readAll(cut(stream, places));
        expect(frames.map(({ body: content, descriptorCount }) => [plain(content), descriptorCount])).toEqual(
          messages.map(([content, descriptors]) => [plain(content), descriptors]),
        );
      }),
    );
  });

  test('do not point into the buffer that they came in', () => {
    const stream = Buffer.from(encodeFrame([Buffer.from('bytes'), 'text'], 0));
    const [frame] = readAll([stream]);
    stream.fill(0xff);
    expect(plain(frame?.body ?? [])).toEqual(plain([Buffer.from('bytes'), 'text']));
  });

  test('arrive byte by byte', () => {
    const messages = [['x'.repeat(1000)], [Buffer.alloc(70_000, 7)], [3]];
    const stream = Buffer.concat(messages.map((content) => encodeFrame(content, 0)));
    const frames = readAll(Array.from(stream, (_, i) => stream.subarray(i, i + 1)));
    expect(frames.map(({ body: content }) => plain(content))).toEqual(messages.map(plain));
  });

  test('wait for their end', () => {
    const stream = encodeFrame([1, 'two', [3]], 1);
    for (let length = 0; length < stream.length; length++)
      expect(readAll([stream.subarray(0, length)])).toEqual([]);
  });

  test('are never longer than the limit', () => {
    expect(() => encodeFrame([Buffer.alloc(limits.frameBytes)], 0)).toThrow(
      expect.objectContaining({ code: 'EMSGSIZE' }),
    );
    expect(readAll([encodeFrame([Buffer.alloc(limits.frameBytes - 100)], 0)])).toHaveLength(1);
  });

  test('that announce too much are refused before a byte of them is kept', () => {
    for (const [length, descriptors] of [
      [limits.frameBytes + 1, 0],
      [2 ** 32 - 1, 0],
      [1, limits.frameDescriptors + 1],
    ] as const) {
      const header = Buffer.alloc(8);
      header.writeUInt32LE(length, 0);
      header.writeUInt32LE(descriptors, 4);
      expect(() => readAll([header])).toThrow(expect.objectContaining({ code: 'EPROTO' }));
    }
  });

  test('of any bytes are frames or EPROTO', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const header = Buffer.alloc(8);
        header.writeUInt32LE(bytes.length, 0);
        try {
          readAll([header, bytes]);
        } catch (error) {
          expect(error).toMatchObject({ code: 'EPROTO' });
        }
      }),
      { numRuns: 1000 },
    );
  });
});

/** Without the difference between a Buffer and a Uint8Array, or between -0 and 0. */
function plain(values: readonly unknown[]): unknown[] {
  return values.map((each) => {
    if (Array.isArray(each)) return plain(each);
    if (each instanceof Uint8Array) return { bytes: [...each] };
    return typeof each === 'number' ? each + 0 : each;
  });
}
