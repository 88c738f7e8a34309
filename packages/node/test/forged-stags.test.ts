/**
 * A node that was let in, and names files by STags that are not its own: its link ends with ESTALE, it gets
 * no byte, and the home goes on for everybody else.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { connectPeer, type PeerEvent, type PeerLink, parsePeerUrl } from '@cluster-fs/transport/peer';
import { type ClusterFs, mount } from 'cluster-fs';
import { InodeCopy, readInode, type Segment } from 'cluster-fs/segment';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { startNode } from '../src/node.ts';
import { makeHome } from './cli-process.ts';

const security = { kind: 'none' } as const;
const content = 'nobody else shall know';
const notGiven = { code: 'ESTALE', why: expect.stringContaining('was not given to this session') };

let address: { host: string; port: number };
let fs: ClusterFs;
let segment: Segment;
let file: { ino: number; generation: number };

beforeEach(async () => {
  const socketPath = join(makeHome(), 'node.sock');
  const cluster = { name: 'a', security };
  const home = startNode({ socketPath, memory: 2 ** 22, inodeCount: 64, cluster });
  onTestFinished(() => home.stop());
  segment = home.coordinator.segment;
  address = parsePeerUrl(await home.listen({ host: '127.0.0.1', port: 0 }));
  fs = await mount(`unix:${socketPath}`);
  onTestFinished(() => fs.unmount());
  await fs.promises.writeFile('/file', content);
  await fs.promises.writeFile('/other', content);
  file = identify('/file');
});

function identify(path: string): { ino: number; generation: number } {
  const { ino } = fs.statSync(path);
  const inode = new InodeCopy();
  expect(readInode(segment, ino, inode)).toBe(true);
  return { ino, generation: inode.generation };
}

/** A node that says what it likes. */
class Stranger {
  readonly link: PeerLink;
  /** Bytes of files that it was given. */
  received = 0;
  readonly #said: string[] = [];
  #number = 0;

  private constructor(link: PeerLink) {
    this.link = link;
    link.setHandlers({
      onEvent: ({ name, payload }) => {
        this.#said.push(name);
        this.received += payload?.length ?? 0;
      },
    });
  }

  static async enter(nodeId: number): Promise<Stranger> {
    const identity = { clusterId: new Uint8Array(16), nodeId, name: `node-${nodeId}`, incarnation: 1 };
    const stranger = new Stranger(await connectPeer({ ...address, security, identity }));
    onTestFinished(() => stranger.link.close());
    stranger.link.event('blockHello', { hello: 1, session: undefined, received: 0 });
    await stranger.hears('blockWelcome');
    return stranger;
  }

  async hears(name: string): Promise<void> {
    await expect.poll(() => this.#said).toContain(name);
  }

  async open(mode: 'r' | 'rw'): Promise<Uint8Array> {
    return (await this.link.request('tagOpen', { ...file, mode })).reply.stag;
  }

  say(message: string, stag: Uint8Array, { index = 0, ...more }: Partial<PeerEvent<'toHome'>> = {}): void {
    const number = ++this.#number;
    this.link.event('toHome', { number, received: 0, stag, index, message, ...more });
  }

  async isThrownOut(reason: object): Promise<void> {
    await expect.poll(() => this.link.closed).toMatchObject(reason);
    expect(this.received).toBe(0);
    expect(await fs.promises.readFile('/file', 'utf8')).toBe(content);
    const honest = await Stranger.enter(77);
    honest.say('getShared', await honest.open('r'));
    await honest.hears('toHolder');
    expect(honest.received).toBe(4096);
  }
}

describe('is thrown out who names', () => {
  test('an STag that was made up', async () => {
    const stranger = await Stranger.enter(2);
    stranger.say('getShared', randomBytes(16));
    await stranger.isThrownOut(notGiven);
  });

  test.each([0, 63, 127])('its own with bit %i turned', async (bit) => {
    const stranger = await Stranger.enter(2);
    const stag = Buffer.from(await stranger.open('rw'));
    stag[bit >> 3] = (stag[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    stranger.say('getShared', stag);
    await stranger.isThrownOut(notGiven);
  });

  test.each(['r', 'rw'] as const)('one of another node, overheard, for %s', async (mode) => {
    const [owner, stranger] = [await Stranger.enter(2), await Stranger.enter(3)];
    stranger.say('getShared', await owner.open(mode));
    await stranger.isThrownOut(notGiven);
    expect(owner.link.closed).toBeUndefined();
  });

  test('one that it has given back', async () => {
    const stranger = await Stranger.enter(2);
    const stag = await stranger.open('r');
    stranger.link.event('tagClose', { stag });
    await stranger.hears('tagClosed');
    stranger.link.event('tagGone', { stag });
    stranger.say('getShared', stag);
    await stranger.isThrownOut(notGiven);
  });

  test('one of a session that it has left', async () => {
    const stranger = await Stranger.enter(2);
    const stag = await stranger.open('r');
    stranger.link.event('leaving', {});
    stranger.say('getShared', stag);
    await expect.poll(() => stranger.link.closed).toBeDefined();
    expect(stranger.received).toBe(0);
    const again = await Stranger.enter(2);
    again.say('getShared', stag);
    await again.isThrownOut(notGiven);
  });

  test('one of a file that is removed since, and another has its inode', async () => {
    const stranger = await Stranger.enter(2);
    await fs.promises.rm('/file');
    await fs.promises.writeFile('/file', content);
    expect(identify('/file')).toEqual({ ino: file.ino, generation: file.generation + 1 });
    await expect(stranger.open('r')).rejects.toMatchObject({ code: 'ESTALE' });
  });

  test('one to read, to store', async () => {
    const stranger = await Stranger.enter(2);
    stranger.say('getExclusive', await stranger.open('r'));
    await stranger.isThrownOut({ code: 'EACCES' });
  });
});

describe('is thrown out who says', () => {
  const broken = { code: 'EPROTO' };

  test.each([
    ['what there is not', 'constructor'],
    ['that it gives back what it was not given', 'returned'],
    ['that it evicts what it was not given', 'evicted'],
    ['that it has done what it was not asked for', 'invalidateAck'],
  ])('%s', async (_, message) => {
    const stranger = await Stranger.enter(2);
    stranger.say(message, await stranger.open('rw'));
    await stranger.isThrownOut(broken);
  });

  test.each([2 ** 28, 2 ** 28 + 1, 2 ** 32 - 1])('that it wants block %i, of another file', async (index) => {
    const stranger = await Stranger.enter(2);
    // The next inode: its blocks follow those of this one.
    expect(identify('/other').ino).toBe(file.ino + 1);
    stranger.say('getExclusive', await stranger.open('rw'), { index });
    await stranger.isThrownOut(broken);
  });

  test('that it is done with an STag which it did not give back', async () => {
    const stranger = await Stranger.enter(2);
    stranger.link.event('tagGone', { stag: await stranger.open('r') });
    await stranger.isThrownOut(broken);
  });

  test('that it gives an STag back, and keeps a block', async () => {
    const stranger = await Stranger.enter(2);
    const stag = await stranger.open('rw');
    stranger.say('getExclusive', stag);
    await stranger.hears('toHolder');
    stranger.link.event('tagClose', { stag });
    await stranger.hears('tagClosed');
    stranger.link.event('tagGone', { stag });
    // The home wants it back, and gets it when the lease is over.
    expect(await fs.promises.readFile('/file', 'utf8')).toBe(content);
    expect(stranger.link.closed).toMatchObject(broken);
  });

  test('that a message is the third when it is the first', async () => {
    const stranger = await Stranger.enter(2);
    stranger.say('getShared', await stranger.open('r'), { number: 3 });
    await stranger.isThrownOut(broken);
  });

  test('that it has heard what was never said', async () => {
    const stranger = await Stranger.enter(2);
    stranger.say('getShared', await stranger.open('r'), { received: 1000 });
    await stranger.isThrownOut(broken);
  });
});
