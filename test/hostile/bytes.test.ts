/** Bytes that are no protocol: the peer that sends them loses its connection, and nobody else notices. */
import { once } from 'node:events';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { helloFrame } from './hello-frame.ts';
import { frame, header, type Packable, pack, Raw } from './message-pack.ts';
import { connectRaw, type RawSocket } from './socket.ts';
import { type Scene, startScene } from './witness.ts';

const hello = 16;
const unknownType = 250;
/** Any value that msgpack can carry, and some that it cannot. */
const { value: anything } = fc.letrec<{ value: Packable }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom<Packable>(
      null,
      true,
      -1,
      0.5,
      Number.NaN,
      2 ** 53,
      -(2 ** 31),
      2 ** 32,
      Number.POSITIVE_INFINITY,
    ),
    fc.nat(300),
    fc.string({ maxLength: 50 }),
    fc.uint8Array({ maxLength: 50 }),
    fc.uint8Array({ maxLength: 10 }).map((bytes) => new Raw(bytes)),
    fc.array(tie('value'), { maxLength: 8 }),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 4 }).map((pairs) => ({ pairs })),
  ),
}));

describe('bytes that are no protocol', () => {
  test('random bytes', async () => {
    const scene = await startScene();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 4 }),
        (chunks) => sendAndLeave(scene, chunks),
      ),
      { numRuns: 200 },
    );
    await scene.expectUndisturbed();
  });

  test('frames that hold any values', async () => {
    const scene = await startScene();
    await fc.assert(
      fc.asyncProperty(fc.array(anything, { maxLength: 5 }), (values) =>
        sendAndLeave(
          scene,
          values.map((value) => frame(pack(value))),
        ),
      ),
      { numRuns: 200 },
    );
    await scene.expectUndisturbed();
  });

  test('messages of every type with any fields, and descriptors announced that do not come', async () => {
    const scene = await startScene();
    const message = fc.record({
      type: fc.oneof(fc.nat(255), fc.constantFrom(-1, 0.5, 2 ** 32)),
      id: fc.oneof(fc.nat(5), fc.constantFrom(-1, Number.NaN)),
      fields: fc.array(anything, { maxLength: 12 }),
      descriptors: fc.nat(5),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 4 }), (messages) =>
        sendAndLeave(
          scene,
          messages.map(({ type, id, fields, descriptors }) =>
            frame(pack([type, id, ...fields]), { descriptors }),
          ),
        ),
      ),
      { numRuns: 200 },
    );
    await scene.expectUndisturbed();
  });

  test.each([
    ['a length of 4 GiB', frame(Buffer.alloc(0), { length: 0xffff_ffff })],
    ['a length just over the limit', frame(Buffer.alloc(0), { length: 2 * 2 ** 20 + 1 })],
    ['five descriptors', frame(pack([]), { descriptors: 5 })],
    ['2^32 - 1 descriptors', frame(pack([]), { descriptors: 0xffff_ffff })],
    ['an empty body', frame(Buffer.alloc(0))],
    ['an unknown message', frame(pack([unknownType, 1]))],
    ['a reply to nothing', frame(pack([1, 77]))],
    ['an error to nothing', frame(pack([2, 77, 'EIO', 'x']))],
    ['a list that announces 2^32 - 1 values', frame(header(0xdd, 0xffff_ffff))],
    [
      'lists of 33 million values, one in the other',
      frame(Buffer.concat(Array(300).fill(header(0xdd, 33_000_000)))),
    ],
    ['two million lists, one in the other', frame(Buffer.alloc(2 * 2 ** 20, 0x91))],
    ['a map of 2^32 - 1 entries', frame(Buffer.concat([Buffer.from([0x92]), header(0xdf, 0xffff_ffff)]))],
    [
      'a hello with a string of 2 GiB',
      frame(Buffer.concat([Buffer.from([0x92, hello, 1]), header(0xdb, 2 ** 31)])),
    ],
  ])('%s, before hello and after it', async (_, bytes) => {
    const scene = await startScene();
    for (const introduce of [false, true, true]) {
      const peer = await connectRaw(scene.node.socketPath);
      if (introduce) await sayHello(peer);
      peer.send(bytes);
      await peer.closed();
    }
    await scene.expectUndisturbed();
  });

  test('frames cut off at every byte', async () => {
    const scene = await startScene();
    const whole = helloFrame;
    for (let length = 1; length < whole.length; length++) {
      const peer = await connectRaw(scene.node.socketPath);
      peer.send(whole.subarray(0, length));
      await peer.close();
    }
    await scene.expectUndisturbed();
  });

  test('a frame of two MiB that drips in byte by byte does not keep others waiting', async () => {
    const scene = await startScene();
    const peer = await connectRaw(scene.node.socketPath);
    await sayHello(peer);
    peer.send(frame(Buffer.alloc(2_000_000, 0xc0), { length: 2_000_020 }));
    for (let i = 0; i < 15; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      peer.send(Buffer.from([0xc0]));
    }
    await peer.close();
    await scene.expectUndisturbed();
  });
}, 30_000);

/** Only then are frames taken that are longer than a hello. */
async function sayHello({ socket, send }: RawSocket): Promise<void> {
  const answered = once(socket, 'data');
  send(helloFrame);
  const [answer] = (await answered) as [Buffer];
  // A frame's header, an array, and the number of a reply.
  expect(answer[9]).toBe(1);
}

/** Sends chunks and leaves; a peer that was cut off before is as good. */
async function sendAndLeave({ node }: Scene, chunks: readonly Uint8Array[]): Promise<void> {
  const peer = await connectRaw(node.socketPath);
  for (const chunk of chunks) peer.send(chunk);
  await peer.close();
  expect(node.isAlive).toBe(true);
}
