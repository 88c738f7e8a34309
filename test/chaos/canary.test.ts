/**
 * Whether the torture's checks can fail at all: a move made by hand without write protection loses stores,
 * and the same checks say so. With protection, and nothing else different, they say nothing.
 */
import { once } from 'node:events';
import { readSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { native } from '@cluster-fs/transport';
import { expect, onTestFinished, test } from 'vitest';
import { initialContent, lostIncrements, Observer } from './counters.mjs';

const length = initialContent().byteLength;

test('a move without write protection loses increments, and the check finds them', async () => {
  const { words, counts } = await moveUnderWriter({ protect: false, moves: 300 });
  expect(lostIncrements(words, 0, counts).length).toBeGreaterThan(0);
});

test('the same move with write protection loses none', async () => {
  const { words, counts } = await moveUnderWriter({ protect: true, moves: 300 });
  expect(Math.min(...counts)).toBeGreaterThan(0);
  expect(lostIncrements(words, 0, counts)).toEqual([]);
});

test('the observer finds foreign bytes, a page in the wrong place, and a counter that goes back', () => {
  const words = initialContent();
  const observer = new Observer();
  words[8] = 5;
  observer.look(words);
  expect(observer.findings).toEqual([]);
  words[8] = 4;
  words.fill(0xdeadbeef, 1024 * 3, 1024 * 3 + 1);
  words.copyWithin(1024 * 7, 1024 * 11, 1024 * 11 + 1);
  observer.look(words);
  expect(observer.findings).toEqual([
    'page 0 word 8: counted 5, now 4 (0x4)',
    'page 3 word 0: is 0xdeadbeef, was 0x5a000003 for ever',
    'page 7 word 0: is 0x5a00000b, was 0x5a000007 for ever',
  ]);
});

/** Moves a file to and fro between two places of a segment while a thread counts in it. */
async function moveUnderWriter({ protect, moves }: { protect: boolean; moves: number }) {
  const fd = native.createMemfd('hand-made', length * 2);
  const address = native.reserveAddressRange(length);
  const show = (index: 0 | 1) =>
    native.mapFile({ fd, offset: index * length, length, protection: 'read-write', address });
  const userfault = native.createUserfault();
  const stop = new Int32Array(new SharedArrayBuffer(4));
  writeSync(fd, initialContent(), 0, length, 0);
  show(0);
  const writer = new Worker(new URL('hand-writer.mjs', import.meta.url), {
    workerData: { address, length, stop: stop.buffer },
    execArgv: [],
  });
  onTestFinished(async () => {
    Atomics.store(stop, 0, 1);
    await writer.terminate();
    native.unmap(address, length);
    native.closeDescriptor(fd);
    native.closeDescriptor(userfault.fd);
  });
  await once(writer, 'message');
  for (let i = 0; i < moves; i++) {
    const from = (i % 2) as 0 | 1;
    const to = (1 - from) as 0 | 1;
    if (protect) {
      native.registerUserfault(userfault.fd, address, length, { missing: true, writeProtect: true });
      native.writeProtectUserfault(userfault.fd, address, length, true);
    }
    native.copyInFileSync({ fd, from: from * length, to: to * length, length });
    show(to);
    if (protect) native.wakeUserfault(userfault.fd, address, length);
  }
  Atomics.store(stop, 0, 1);
  const [counts] = (await once(writer, 'message')) as [Uint32Array];
  const words = new Uint32Array(length / 4);
  readSync(fd, words, 0, length, (moves % 2) * length);
  return { words, counts };
}
