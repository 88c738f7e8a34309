/** With certificates, the number of a node is good for the name alone with which it came first. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { FsError } from '@cluster-fs/transport';
import { connectPeer, formatClusterId, type PeerSecurity, parsePeerUrl } from '@cluster-fs/transport/peer';
import { mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { issueAuthority, issueNode, makeKey } from '../src/certificates/issue.ts';
import { coordinatorId } from '../src/cluster/homes.ts';
import { joinNode, startNode } from '../src/cluster/start.ts';
import { makeHome } from './cli-process.ts';

const dayMs = 86_400_000;
const now = { notBefore: new Date(Date.now() - dayMs), notAfter: new Date(Date.now() + dayMs) };
const clusterId = randomBytes(16);
const authority = await issueAuthority(formatClusterId(clusterId), now);

async function certify(name: string): Promise<PeerSecurity> {
  const key = makeKey();
  const subject = { name, clusterId: formatClusterId(clusterId), hosts: [] };
  return { kind: 'tls', ca: authority.cert, cert: await issueNode(subject, { ...now, key, authority }), key };
}

const local = { host: '127.0.0.1', port: 0 };
const optionsFor = async (name: string) => ({
  socketPath: join(makeHome(), 'node.sock'),
  memory: 2 ** 22,
  cluster: { name, security: await certify(name) },
});

/** A node hears the numbers of all that keep files; there is one. */
async function numberOfKeeper(to: typeof local): Promise<number> {
  const identity = { clusterId, nodeId: 66, name: 'curious', incarnation: 1 };
  const link = await connectPeer({ ...to, security: await certify('curious'), identity });
  const heard = new Promise<number>((resolve) => {
    link.setHandlers({
      onEvent: ({ name, fields }) => {
        const [keeper] = name === 'keepers' ? fields.keepers : [];
        if (keeper !== undefined) resolve(keeper.nodeId);
      },
    });
  });
  await link.request('follow', { feed: undefined, sequence: 0 });
  const number = await heard;
  // Nobody waits for it to know of changes.
  link.close();
  return number;
}

test('who has a certificate of its own takes nobody else for its own', { timeout: 60_000 }, async () => {
  const a = startNode({ ...(await optionsFor('a')), inodeCount: 64 });
  onTestFinished(() => a.stop());
  const atA = parsePeerUrl(await a.listen(local));
  const options = await optionsFor('b');
  const b = await joinNode({ ...options, keeps: true, join: atA });
  onTestFinished(() => b.stop());
  const atB = parsePeerUrl(await b.listen(local));
  const fs = await mount(`unix:${options.socketPath}`);
  onTestFinished(() => fs.unmount());
  await fs.promises.writeFile('/file', 'content');
  await fs.migrate('/file', 'b');
  const number = await numberOfKeeper(atA);

  /** What becomes of a link of `name` under a number. */
  const tried = async (to: typeof local, name: string, nodeId: number): Promise<string> => {
    const identity = { clusterId, nodeId, name, incarnation: Date.now() };
    try {
      const link = await connectPeer({ ...to, security: await certify(name), identity });
      onTestFinished(() => link.close());
      await link.request('describe', {});
      return 'let in';
    } catch (error) {
      return (error as FsError).code;
    }
  };
  const another = 77;
  expect({
    'number of b, at a': await tried(atA, 'c', number),
    'number of a, at a': await tried(atA, 'c', coordinatorId),
    'number of a, at b': await tried(atB, 'c', coordinatorId),
    'number of its own': await tried(atA, 'c', another),
    'number of a node that keeps no files': await tried(atA, 'd', another),
  }).toEqual({
    'number of b, at a': 'EACCES',
    'number of a, at a': 'EACCES',
    'number of a, at b': 'EACCES',
    'number of its own': 'let in',
    'number of a node that keeps no files': 'EACCES',
  });
  // It is still who it was.
  expect(await fs.promises.readFile('/file', 'utf8')).toBe('content');
  await fs.promises.writeFile('/file', 'newer');
});
