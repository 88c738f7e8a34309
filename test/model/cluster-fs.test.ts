/** cluster-fs does what the model and node:fs do, and its checker finds nothing afterwards. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ClusterFs, mount } from 'cluster-fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compare, modelSubject, realSubject, type Subject } from './compare.ts';
import { counterexamples } from './counterexamples.ts';
import { agree, limitMs, linuxSubject, parameters } from './property.ts';

describe('cluster-fs agrees with the model and with node:fs', () => {
  let directory: string;
  let cluster: ClusterFs | undefined;
  let subject: Subject;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'clusterfs-test-'));
    const mounted = await mount(directory);
    cluster = mounted;
    const check = () => mounted.check();
    subject = realSubject({ name: 'cluster-fs', fs: mounted.promises, root: '', check });
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

  test('and leaves nothing behind', async () => {
    expect(await cluster?.promises.readdir('/')).toEqual([]);
    expect(await cluster?.check()).toEqual([]);
  });
});
