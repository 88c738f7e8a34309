/** cluster-fs does what the model and node:fs do, and its checker finds nothing afterwards. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ClusterFs, mount, type SparseHandle } from 'cluster-fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SparseCalls } from './command.ts';
import { sparseSequence } from './commands.ts';
import { compare, modelSubject, realSubject, type Subject } from './compare.ts';
import { counterexamples } from './counterexamples.ts';
import { agree, limitMs, linuxSubject, parameters } from './property.ts';

const own = (handle: object): SparseHandle => handle as SparseHandle;
const ownSparse: SparseCalls = {
  punchHole: (handle, offset, length) => own(handle).punchHole(offset, length),
  zeroRange: (handle, offset, length) => own(handle).zeroRange(offset, length),
  allocate: (handle, offset, length) => own(handle).allocate(offset, length),
  seek: (handle, offset, what) =>
    what === 'data' ? own(handle).seekData(offset) : own(handle).seekHole(offset),
};

describe('cluster-fs agrees with the model and with node:fs', () => {
  let directory: string;
  let cluster: ClusterFs | undefined;
  let subject: Subject;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'clusterfs-test-'));
    const mounted = await mount(directory);
    cluster = mounted;
    const check = () => mounted.check();
    subject = realSubject({ name: 'cluster-fs', fs: mounted.promises, root: '', sparse: ownSparse, check });
  });
  afterAll(async () => {
    await cluster?.unmount();
    await rm(directory, { recursive: true, force: true });
  });

  test('on random sequences', { timeout: limitMs }, async () => {
    await fc.assert(agree([modelSubject(), await linuxSubject(), subject]), parameters(500));
  });

  test.each(Object.entries(counterexamples))('%s', async (_, operations) => {
    await compare([modelSubject(), await linuxSubject(), subject], operations);
  });

  test('on random sequences of holes, zeros and pages in one file', { timeout: limitMs }, async () => {
    const subjects = [modelSubject(), await linuxSubject(), subject];
    await fc.assert(agree(subjects, sparseSequence), parameters(300));
  });

  test('and leaves nothing behind', async () => {
    expect(await cluster?.promises.readdir('/')).toEqual([]);
    expect(await cluster?.check()).toEqual([]);
  });
});
