/**
 * Readers without a lock, while a thread changes the segment without a pause: each sees all of a change or
 * none.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { native } from '@cluster-fs/transport';
import { expect, onTestFinished, test } from 'vitest';
import {
  encodeName,
  geometryFor,
  InodeCopy,
  listDirectory,
  lookup,
  openSegment,
  pageSize,
  readExtents,
  readText,
  rootIno,
  type Segment,
} from '../src/segment/index.ts';

const reads = 3000;
const dataSize = 512 * pageSize;
const inodeCount = 256;

test('a file, a target, a name and a listing are never half changed', async () => {
  const { segment, seen, stop } = await startWriter();
  const copy = new InodeCopy();
  const states = { many: 0, few: 0 };
  for (let i = 0; i < reads; i++) {
    const extents = readExtents(segment, seen.file, copy);
    const many = extents.length === 150;
    states[many ? 'many' : 'few']++;
    expect([extents.length, copy.extentCount, copy.pages, copy.size / pageSize / 2]).toEqual(
      Array(4).fill(many ? 150 : 3),
    );
    expect(
      extents.every(({ filePage, page }, k) => filePage === k * 2 && page === k * 2 + (many ? 1 : 0)),
    ).toBe(true);

    expect(['a'.repeat(3000), 'b'.repeat(2000)]).toContain(readText(segment, seen.link, copy));
    expect([seen.one, seen.two]).toContain(lookup(segment, rootIno, encodeName('either')).ino);
    expect(lookup(segment, rootIno, encodeName(`kept ${i % 40}`)).ino).not.toBe(0);
    if (i % 20 === 0) expectListing(segment);
  }
  const rounds = await stop();
  expect(rounds).toBeGreaterThan(100);
  // Both states were met, so the reader really raced with the writer.
  expect(Math.min(states.many, states.few)).toBeGreaterThan(10);
}, 30_000);

/** What was there all the time is listed exactly once. */
function expectListing(segment: Segment): void {
  const names = listDirectory(segment, rootIno).map(({ name }) => name);
  const kept = Array.from({ length: 40 }, (_, i) => `kept ${i}`);
  const comeAndGo = (name: string) => /^long name .*\d$/.test(name);
  expect(names.filter((name) => !comeAndGo(name)).sort()).toEqual([...kept, 'either', 'file', 'link'].sort());
}

interface Seen {
  readonly file: number;
  readonly link: number;
  readonly one: number;
  readonly two: number;
}

async function startWriter() {
  const { metaSize } = geometryFor({ dataSize, inodeCount });
  const fd = native.createMemfd('meta', metaSize);
  const address = native.mapFile({ fd, offset: 0, length: metaSize, protection: 'read-write' });
  const control = new Int32Array(new SharedArrayBuffer(4));
  const writer = new Worker(new URL('writer-thread.mjs', import.meta.url), {
    workerData: { address, dataSize, inodeCount, stop: control.buffer },
    execArgv: [],
  });
  onTestFinished(async () => {
    await writer.terminate();
    native.closeDescriptor(fd);
  });
  const [seen] = (await once(writer, 'message')) as [Seen];
  const segment = openSegment(native.arrayBufferAt(address, metaSize));
  const stop = async (): Promise<number> => {
    const done = once(writer, 'message');
    Atomics.store(control, 0, 1);
    const [{ rounds }] = (await done) as [{ rounds: number }];
    return rounds;
  };
  return { segment, seen, stop };
}
