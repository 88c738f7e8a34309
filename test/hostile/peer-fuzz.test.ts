/**
 * Nodes that say what they like to the port where nodes are let in: bytes that are none, frames of an honest
 * node with something changed, in another order, again, cut off. Their link ends, and nothing else does.
 *
 *   CLUSTERFS_FUZZ_SEED=42 CLUSTERFS_FUZZ_ATTACKS=10000 npm test -- test/hostile/peer-fuzz
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { peerProtocolVersion } from '@cluster-fs/transport/peer';
import { expect, test } from 'vitest';
import { type Random, randomOf } from '../random.mjs';
import { frameOf, helloOf, ids, recordNode, typeOf } from './peer-recording.ts';
import { startPeerScene } from './peer-scene.ts';

const attacks = Number(process.env.CLUSTERFS_FUZZ_ATTACKS ?? 600);
const seed = Number(process.env.CLUSTERFS_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 32));
/** At the same time. */
const crowd = 8;
/** Each of them holds the others up until its lease is over: they come at once. */
const sessions = 16;
const timeout = 90_000 + attacks * 100;

/** Honest frames, with something done to them. */
type Mutation = (random: Random, frames: readonly Buffer[]) => Buffer[];

const bytesOf = (random: Random, count: number): Buffer =>
  Buffer.from(Array.from({ length: count }, () => random.below(256)));

/** Some frames, each with a copy of its own to be changed. */
const changed = (random: Random, frames: readonly Buffer[], change: (frame: Buffer) => Buffer): Buffer[] =>
  frames.map((frame) => (random.happens(0.1) ? change(Buffer.from(frame)) : frame));

const shuffled = (random: Random, frames: readonly Buffer[]): Buffer[] =>
  frames
    .map((frame) => ({ frame, at: random.fraction() }))
    .sort((a, b) => a.at - b.at)
    .map(({ frame }) => frame);

const mutations: Readonly<Record<string, Mutation>> = {
  'random bytes': (random) => [bytesOf(random, 1 + random.below(9000))],
  'random bodies': (random) =>
    Array.from({ length: 20 }, () =>
      frameOf(bytesOf(random, 1 + random.below(60)), bytesOf(random, random.below(200))),
    ),
  'bits turned': (random, frames) =>
    changed(random, frames, (frame) => {
      const at = random.below(Math.min(frame.length, 200));
      frame[at] = (frame[at] ?? 0) ^ (1 << random.below(8));
      return frame;
    }),
  'bytes changed in bodies': (random, frames) =>
    changed(random, frames, (frame) => {
      const body = frame.readUInt32LE(0);
      for (let i = 0; i < 3; i++) frame[8 + random.below(body)] = random.below(256);
      return frame;
    }),
  'bodies under other types': (random, frames) =>
    changed(random, frames, (frame) => {
      frame[9] = random.pick([16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 1, 2]);
      return frame;
    }),
  'payloads where none belong': (random, frames) =>
    changed(random, frames, (frame) => {
      const body = frame.subarray(8, 8 + frame.readUInt32LE(0));
      return frameOf(body, bytesOf(random, random.below(5000)));
    }),
  'no payloads where some belong': (random, frames) =>
    changed(random, frames, (frame) => frameOf(frame.subarray(8, 8 + frame.readUInt32LE(0)))),
  'wrong lengths': (random, frames) =>
    changed(random, frames, (frame) => {
      const length = random.pick([0, 1, 47, 2 ** 20, 2 ** 21 + 1, 2 ** 31, 2 ** 32 - 1]);
      frame.writeUInt32LE(length, random.pick([0, 4]));
      return frame;
    }),
  'the order changed': shuffled,
  'all of it twice': (_, frames) => [...frames, ...frames],
  'some left out': (random, frames) => frames.filter(() => random.happens(0.7)),
  'cut off': (random, frames) => {
    const all = Buffer.concat(frames);
    return [all.subarray(0, 1 + random.below(all.length - 1))];
  },
};

/** What comes before the frames. */
type Beginning = (random: Random, nodeId: number) => Buffer | undefined;
const nobody: Beginning = () => undefined;
const damaged: Beginning = (random, nodeId) => {
  const hello = helloOf(nodeId, peerProtocolVersion);
  hello[random.below(hello.length)] = random.below(256);
  return hello;
};
/** A node that is let in: with the kind of security that asks for no proof the right hello will do. */
const letIn: Beginning = (_, nodeId) => helloOf(nodeId, peerProtocolVersion);

interface Attack {
  /** Its answer is awaited, or the end. */
  readonly hello: Buffer | undefined;
  readonly frames: readonly Buffer[];
}

test(`${attacks} attacks harm nobody (seed ${seed})`, { timeout }, async () => {
  let frames: Buffer[] = [];
  const scene = await startPeerScene(async (peerPort) => {
    frames = (await recordNode(peerPort)).slice(1);
  });
  const { peerPort } = scene;
  // One without a session of blocks is forgotten with its link.
  const withoutSession = frames.filter((frame) => typeOf(frame) !== ids.blockHello);
  const attackAs =
    (begin: Beginning, said: readonly Buffer[]) =>
    (random: Random, nodeId: number): Attack => ({
      hello: begin(random, nodeId),
      frames: random.pick(Object.values(mutations))(random, said),
    });
  for (const begin of [nobody, damaged])
    await attackAll(peerPort, attacks / 4, attackAs(begin, withoutSession));
  const before = scene.joined();
  expect(before).toBeLessThan(attacks / 4);
  await attackAll(peerPort, attacks / 2, attackAs(letIn, withoutSession));
  // Most of them: on a busy machine some hellos come too late.
  await expect.poll(scene.joined, { timeout: 5000 }).toBeGreaterThan(before + attacks / 3);
  await attackAll(peerPort, sessions, attackAs(letIn, frames));
  await scene.expectUndisturbed();
});

test(`who has no token hears an alert at most, whatever is said (seed ${seed})`, { timeout }, async () => {
  const token = randomBytes(32).toString('base64url');
  const scene = await startPeerScene(async () => undefined, { token });
  const frames = Array.from({ length: 20 }, (_, i) => helloOf(i, peerProtocolVersion));
  const heard = await attackAll(scene.peerPort, attacks / 4, (random) => ({
    hello: random.happens(0.5) ? clientHello(random) : undefined,
    frames: random.pick(Object.values(mutations))(random, frames),
  }));
  expect(Math.max(...heard)).toBeLessThanOrEqual(alertBytes);
  expect(scene.joined()).toBe(0);
  await scene.expectUndisturbed();
});

test('a home that keeps the clients of a node that has left is noticed', { timeout }, async () => {
  const program = new URL('keeps-guests.mjs', import.meta.url).href;
  const prepare = async (peerPort: number): Promise<void> => void (await recordNode(peerPort));
  const scene = startPeerScene(prepare, { env: { NODE_OPTIONS: `--import ${program}` } });
  await expect(scene).rejects.toThrow('expected 3 to be 2');
});

/** A record of TLS 1.3 that begins a handshake (RFC 8446, 4.1.2), with nonsense behind it. */
function clientHello(random: Random): Buffer {
  const body = bytesOf(random, 40 + random.below(200));
  const handshake = Buffer.concat([Buffer.from([1, 0, 0, body.length + 2, 3, 3]), body]);
  return Buffer.concat([Buffer.from([22, 3, 1, 0, handshake.length]), handshake]);
}
/** A record with a header of five bytes and two of its own. */
const alertBytes = 7;

let nextNodeId = 1000;

/** How many bytes were heard by each. */
async function attackAll(
  port: number,
  count: number,
  make: (random: Random, nodeId: number) => Attack,
): Promise<number[]> {
  const heard: number[] = [];
  let next = 0;
  const attackSome = async (): Promise<void> => {
    while (next < count) {
      const i = next++;
      heard[i] = await attack(port, make(randomOf(seed + i), nextNodeId++));
    }
  };
  await Promise.all(Array.from({ length: crowd }, attackSome));
  return heard;
}

/** Says all of it, and hears the end: it is closed as soon as the home has heard enough. */
async function attack(port: number, { hello, frames }: Attack): Promise<number> {
  const socket = connect({ host: '127.0.0.1', port });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => undefined);
  if (hello !== undefined) {
    const answered = new Promise<void>((resolve) => socket.once('data', () => resolve()));
    socket.write(hello);
    await Promise.race([answered, closed, silence()]);
  }
  socket.resume().end(Buffer.concat(frames));
  await closed;
  return socket.bytesRead;
}

/** One that is damaged may be the beginning of a longer one: the home waits for the rest. */
const silence = (): Promise<unknown> => once(AbortSignal.timeout(silenceMs), 'abort');
const silenceMs = 200;
