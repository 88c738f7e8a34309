/**
 * Files that are removed while other nodes have some of them: who maps one goes on with it, whatever was
 * stored where, and the file that gets its inode number afterwards has nothing of it.
 */
import { expect, test } from 'vitest';
import { startChild } from '../chaos/children.ts';
import { startNodeProcess } from '../chaos/node-process.ts';
import { freePort } from './line.ts';

const timeout = 60_000;

/** The coordinator, a node that keeps files, and one that has copies alone. */
async function startThree(): Promise<string[]> {
  const joinPort = await freePort();
  const memory = 32 * 2 ** 20;
  const a = await startNodeProcess({ memory, peerPort: joinPort, name: 'a' });
  const b = await startNodeProcess({ memory, joinPort, peerPort: await freePort(), name: 'b' });
  const c = await startNodeProcess({ memory, joinPort, name: 'c' });
  return [a, b, c].map(({ url }) => url);
}

test.each([
  ['what a node that keeps files stored into a removed file is not in the next one', 'next', 1],
  ['what a node that has copies alone stored into it is not, either', 'next', 2],
  ['nor what its home has when it was stored into elsewhere', 'moved', 0],
  ['who maps a removed file sees what a node that keeps files stored into it last', 'mapped', 1],
  ['and what a node that has copies alone stored', 'mapped', 2],
  ['and what the coordinator stored', 'mapped', 0],
])('%s', { timeout }, async (_, scenario, by) => {
  const child = startChild('../cluster/removed-files.mjs', [scenario, by, ...(await startThree())]);
  expect((await child.hear<{ findings: string[] }>('found')).findings).toEqual([]);
});
