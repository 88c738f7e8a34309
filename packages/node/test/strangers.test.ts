/** Who comes to the port where nodes are let in, and is none, does not fill the log. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { parsePeerUrl } from '@cluster-fs/transport/peer';
import { expect, onTestFinished, test } from 'vitest';
import { startNode } from '../src/cluster/start.ts';
import { makeHome } from './cli-process.ts';

test('a flood of refusals makes a handful of lines', async () => {
  const notices: string[] = [];
  const home = startNode({
    socketPath: join(makeHome(), 'node.sock'),
    memory: 2 ** 22,
    cluster: { name: 'a', security: { kind: 'none' } },
    onNotice: (notice) => notices.push(notice),
  });
  onTestFinished(() => home.stop());
  const { host, port } = parsePeerUrl(await home.listen({ host: '127.0.0.1', port: 0 }));
  for (let i = 0; i < 100; i++) await once(connect({ host, port }).end('no frame'), 'close');
  await expect.poll(() => notices.at(-1)).toMatch(/not let in: .*; 100 so far/);
  expect(notices.filter((notice) => notice.startsWith('not let in'))).toHaveLength(11);
});
