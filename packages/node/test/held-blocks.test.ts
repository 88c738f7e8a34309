/** Who asks for a block of a file that is just being changed gets it later, and is not forgotten then. */
import { join } from 'node:path';
import { parsePeerUrl } from '@cluster-fs/transport/peer';
import { mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { joinNode, startNode } from '../src/cluster/start.ts';
import { makeHome } from './cli-process.ts';

const path = '/file';
const common = (name: string) => ({
  socketPath: join(makeHome(), 'node.sock'),
  memory: 2 ** 20,
  inodeCount: 64,
  cluster: { name, security: { kind: 'none' } as const },
});

test('what was asked for during a change follows the writes at its home', async () => {
  const home = startNode(common('a'));
  onTestFinished(() => home.stop());
  const { inodeCount, ...joining } = common('b');
  const address = parsePeerUrl(await home.listen({ host: '127.0.0.1', port: 0 }));
  const member = await joinNode({ ...joining, join: address });
  onTestFinished(() => member.stop());
  const [a, b] = await Promise.all([home, member].map(({ socketPath }) => mount(`unix:${socketPath}`)));
  if (a === undefined || b === undefined) throw new Error('two mounts');
  onTestFinished(async () => void (await Promise.all([a.unmount(), b.unmount()])));

  await a.promises.writeFile(path, 'before');
  const { blocks } = home.coordinator;
  if (blocks === undefined) throw new Error('a node of a cluster');
  const { ino } = a.statSync(path);
  blocks.hold(ino);
  const reading = b.promises.readFile(path, 'utf8');
  await expect.poll(() => home.home?.report.stags).toBe(1);
  // The link keeps the order: with the first answer the node has its STag, and asks; then comes the second.
  await b.promises.mkdir('/first');
  await b.promises.mkdir('/second');
  blocks.release(ino);

  expect(await reading).toBe('before');
  expect(home.home?.report.lentBlocks).toBe(1);
  const file = await a.promises.open(path, 'r+');
  await file.write('AFTER!');
  await file.close();
  expect(await b.promises.readFile(path, 'utf8')).toBe('AFTER!');
});
