/**
 * What a home waits for before it hands a file over. What it says to the next home about blocks comes over
 * one link, and what it says about the file over another: neither waits for the other.
 */
import { FsError } from '@cluster-fs/transport';
import { listenPeers, type PeerLink } from '@cluster-fs/transport/peer';
import { toDirectoryPlaces } from 'cluster-fs/coherence';
import { InodeCopy, readInode } from 'cluster-fs/segment';
import { expect, onTestFinished, test } from 'vitest';
import { startHome } from './stranger.ts';

const security = { kind: 'none' } as const;
const nodeId = 2;

/**
 * Where the next home lets others in: it takes files. A file that is handed over it refuses, after that
 * promise.
 */
async function listen(handedOver: () => Promise<void>): Promise<string> {
  const identity = { clusterId: new Uint8Array(16), nodeId, name: 'node-2', incarnation: 1 };
  const answer = (link: PeerLink): void =>
    link.setHandlers({
      onEvent: ({ name, fields }) => {
        if (name === 'blockHello')
          link.event('blockWelcome', { hello: fields.hello, session: 1, received: 0, memory: 'of the home' });
      },
      onRequest: (request) => {
        if (request.name === 'take') request.reply({ present: 1, total: 1 });
        else {
          const refuse = (): void => request.fail(new FsError('ENOTSUP', request.name));
          if (request.name === 'handOver') handedOver().then(refuse, refuse);
          else refuse();
        }
      },
    });
  const address = { host: '127.0.0.1', port: 0 };
  const listener = await listenPeers({ ...address, security, identity, onRefused: () => undefined }, answer);
  onTestFinished(() => listener.close());
  return listener.url;
}

test('a file is handed over when those have their blocks who asked before it stood still', async () => {
  const { enter, fs, segment } = await startHome();
  await fs.promises.writeFile('/file', 'content');
  const inode = new InodeCopy();
  readInode(segment, fs.statSync('/file').ino, inode);
  const { ino, generation } = inode;
  const [next, third] = [await enter(nodeId), await enter(3)];
  const heard: string[] = [];
  let newest = 'not given up';
  const url = await listen(async () => {
    heard.push(newest);
    // Over a link of its own: it may be on its way, and nothing that comes later sends it.
    await expect.poll(() => third.received, { timeout: 10_000 }).toBeGreaterThan(0);
    heard.push('the third has it');
  });
  await next.link.request('keep', { url, memoryBytes: 2 ** 20, capacityBytes: 2 ** 20, isStored: false });
  const tagOf = (node: typeof next, mode: 'r' | 'rw' | 'take') => node.tag({ ino, generation, mode });
  await tagOf(next, 'take');
  const stag = await tagOf(next, 'rw');
  next.say('getExclusive', stag);
  await expect.poll(() => next.received).toBeGreaterThan(0);
  third.say('getShared', await tagOf(third, 'r'));
  await third.link.request('describe', {});
  // The home waits for what the next one has, for the third.
  const moved = fs.migrate('/file', 'node-2').catch((error: unknown) => String(error));
  for (let turn = 0; turn < 100; turn++) await next.link.request('describe', {});
  const yielded = { number: 2, received: 2, stag, index: 0, message: toDirectoryPlaces.yielded };
  newest = 'given up';
  next.link.event('toHome', yielded, { payload: Buffer.from('newest') });
  expect(await moved).toContain('ENOTSUP');
  expect(heard).toEqual(['given up', 'the third has it']);
});
