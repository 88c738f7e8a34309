/** cluster-fs does what the model and node:fs do, and its checker finds nothing afterwards. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ClusterFs, mount, type View } from 'cluster-fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { filledSequence, sparseSequence } from './commands.ts';
import { compare, modelSubject, realSubject, type Subject } from './compare.ts';
import { counterexamples } from './counterexamples.ts';
import { ownSparse } from './own-sparse.ts';
import { agree, limitMs, linuxSubject, parameters } from './property.ts';

/** After each operation a live view of the one file shows what the file is. */
function underView(subject: Subject, fs: ClusterFs, mode: 'r' | 'rw'): Subject {
  return {
    name: `cluster-fs under a view (${mode})`,
    async begin() {
      const run = await subject.begin();
      const [sequence] = fs.readdirSync('/');
      const path = `/${sequence}/top/a`;
      let view: View | undefined;
      const apply: typeof run.apply = async (operation) => {
        const outcome = await run.apply(operation);
        view ??= fs.existsSync(path) ? await fs.map(path, { mode, reserve: 2 ** 17 }) : undefined;
        const shows = () => Buffer.compare(view?.bytes ?? Buffer.alloc(0), fs.readFileSync(path)) === 0;
        if (view !== undefined) await expect.poll(shows, { interval: 1 }).toBe(true);
        return outcome;
      };
      const end = () => {
        view?.close();
        return run.end();
      };
      return { apply, end };
    },
  };
}

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

  test.each([
    { mode: 'r', sequences: sparseSequence },
    { mode: 'rw', sequences: filledSequence },
  ] as const)('under a live view that is $mode', { timeout: limitMs }, async ({ mode, sequences }) => {
    const other = await mount((cluster as ClusterFs).url);
    onTestFinished(() => other.unmount());
    const subjects = [modelSubject(), underView(subject, other, mode)];
    await fc.assert(agree(subjects, sequences), parameters(150));
  });

  test('and leaves nothing behind', async () => {
    expect(await cluster?.promises.readdir('/')).toEqual([]);
    expect(await cluster?.check()).toEqual([]);
  });
});
