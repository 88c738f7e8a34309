/** Two nodes do what the model does, whichever of them is asked. */
import { type ClusterFs, mount } from 'cluster-fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTwoNodes, type TwoNodes } from '../setups/two-nodes.ts';
import { sparseSequence } from './commands.ts';
import { modelSubject, realSubject, type Subject } from './compare.ts';
import { ownSparse } from './own-sparse.ts';
import { agree, limitMs, parameters } from './property.ts';

/** Each call goes to the other node than the call before; what is opened stays where it was opened. */
function byTurns([first, second]: readonly [ClusterFs, ClusterFs]): ClusterFs['promises'] {
  let calls = 0;
  return new Proxy(first.promises, {
    get: (_, method: keyof ClusterFs['promises']) => {
      const { promises } = calls++ % 2 === 0 ? first : second;
      const call = promises[method];
      return typeof call === 'function' ? call.bind(promises) : call;
    },
  });
}

describe('cluster-fs on two nodes agrees with the model', () => {
  let nodes: TwoNodes;
  let mounts: readonly [ClusterFs, ClusterFs];
  let subject: Subject;

  beforeAll(async () => {
    nodes = await startTwoNodes();
    mounts = [await mount(nodes.home.url), await mount(nodes.member.url)];
    const check = async () => (await Promise.all(mounts.map((fs) => fs.check()))).flat();
    subject = realSubject({ name: 'two nodes', fs: byTurns(mounts), root: '', sparse: ownSparse, check });
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
