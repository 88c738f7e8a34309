/** Three nodes do what the model does, whichever of them is asked. */
import { fileURLToPath } from 'node:url';
import { type ClusterFs, mount } from 'cluster-fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { startThreeNodes, startTwoNodes, type ThreeNodes } from '../setups/two-nodes.ts';
import { sparseSequence } from './commands.ts';
import { Disagreement, modelSubject, realSubject, type Subject } from './compare.ts';
import { ownSparse } from './own-sparse.ts';
import { agree, limitMs, parameters } from './property.ts';

/** Each node comes behind each other one. */
const turns = [0, 1, 0, 2, 1, 2] as const;

/** Each call goes to another node than the call before; what is opened stays where it was opened. */
function byTurns(mounts: readonly ClusterFs[]): ClusterFs['promises'] {
  let calls = 0;
  const [first] = mounts as [ClusterFs];
  return new Proxy(first.promises, {
    get: (_, method: keyof ClusterFs['promises']) => {
      const turn = turns[calls++ % turns.length] ?? 0;
      const { promises } = mounts[turn % mounts.length] as ClusterFs;
      const call = promises[method];
      return typeof call === 'function' ? call.bind(promises) : call;
    },
  });
}

/** After each operation one of the other nodes is asked for all content that there is at the home. */
function subjectOf(mounts: readonly ClusterFs[]): Subject {
  const check = async () => (await Promise.all(mounts.map((fs) => fs.check()))).flat();
  const nodes = realSubject({ name: 'nodes', fs: byTurns(mounts), root: '', sparse: ownSparse, check });
  const [home, ...others] = mounts as [ClusterFs, ...ClusterFs[]];
  let operations = 0;
  return {
    name: nodes.name,
    async begin() {
      const run = await nodes.begin();
      return {
        apply: async (operation) => {
          const outcome = await run.apply(operation);
          await compareContent(home, others[operations++ % others.length] as ClusterFs);
          return outcome;
        },
        end: run.end,
      };
    },
  };
}

async function compareContent(home: ClusterFs, other: ClusterFs): Promise<void> {
  for (const entry of await home.promises.readdir('/', { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = `${entry.parentPath}/${entry.name}`;
    const [there, here] = await Promise.all([home, other].map((fs) => fs.promises.readFile(path)));
    if (there === undefined || here === undefined || Buffer.compare(there, here) !== 0)
      throw new Disagreement(`${path} is not the same on two nodes`);
  }
}

describe('cluster-fs on three nodes agrees with the model', () => {
  let nodes: ThreeNodes;
  let mounts: readonly ClusterFs[];
  let subject: Subject;

  beforeAll(async () => {
    nodes = await startThreeNodes();
    mounts = [await mount(nodes.home.url), await mount(nodes.member.url), await mount(nodes.other.url)];
    subject = subjectOf(mounts);
  });
  afterAll(async () => {
    await Promise.all(mounts.map((fs) => fs.unmount()));
    await nodes.stop();
  });

  test('on random sequences', { timeout: limitMs }, async () => {
    await fc.assert(agree([modelSubject(), subject]), parameters(100));
  });

  test('on random sequences of holes, zeros and pages in one file', { timeout: limitMs }, async () => {
    await fc.assert(agree([modelSubject(), subject], sparseSequence), parameters(60));
  });

  test('and leaves nothing behind', async () => {
    for (const fs of mounts) {
      expect(await fs.promises.readdir('/')).toEqual([]);
      expect(await fs.check()).toEqual([]);
    }
  });
});

test('a node that keeps copies which it says are gone is caught', { timeout: limitMs }, async () => {
  const broken = fileURLToPath(new URL('../cluster/keeps-copies.mjs', import.meta.url));
  const { home, member, stop } = await startTwoNodes({ execArgv: { member: ['--import', broken] } });
  onTestFinished(stop);
  const mounts = [await mount(home.url), await mount(member.url)];
  onTestFinished(async () => void (await Promise.all(mounts.map((fs) => fs.unmount()))));
  const run = fc.check(agree([modelSubject(), subjectOf(mounts)], sparseSequence), {
    numRuns: 200,
    endOnFailure: true,
  });
  expect(await run).toMatchObject({ failed: true });
});
