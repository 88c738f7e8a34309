/**
 * A node that was let in, and names files by STags that are not its own: its link ends with ESTALE, it gets
 * no byte, and the home goes on for everybody else.
 */
import { randomBytes } from 'node:crypto';
import { type ToDirectory, toDirectoryNames } from 'cluster-fs/coherence';
import { InodeCopy, readInode } from 'cluster-fs/segment';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Home, type Stranger, startHome } from './stranger.ts';

const content = 'nobody else shall know';
const notGiven = { code: 'ESTALE', why: expect.stringContaining('given to somebody else, or to nobody') };

let enter: Home['enter'];
let fs: Home['fs'];
let segment: Home['segment'];
let file: { ino: number; generation: number };

beforeEach(async () => {
  ({ enter, fs, segment } = await startHome());
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

const open = (stranger: Stranger, mode: 'r' | 'rw'): Promise<Uint8Array> => stranger.tag({ ...file, mode });

async function isThrownOut(stranger: Stranger, reason: object): Promise<void> {
  await expect.poll(() => stranger.link.closed).toMatchObject(reason);
  expect(stranger.received).toBe(0);
  expect(await fs.promises.readFile('/file', 'utf8')).toBe(content);
  const honest = await enter(77);
  honest.say('getShared', await open(honest, 'r'));
  await honest.hears('toHolder');
  expect(honest.received).toBe(4096);
}

describe('is thrown out who names', () => {
  test('an STag that was made up', async () => {
    const stranger = await enter(2);
    stranger.say('getShared', randomBytes(16));
    await isThrownOut(stranger, notGiven);
  });

  test.each([0, 63, 127])('its own with bit %i turned', async (bit) => {
    const stranger = await enter(2);
    const stag = Buffer.from(await open(stranger, 'rw'));
    stag[bit >> 3] = (stag[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    stranger.say('getShared', stag);
    await isThrownOut(stranger, notGiven);
  });

  test.each(['r', 'rw'] as const)('one of another node, overheard, for %s', async (mode) => {
    const [owner, stranger] = [await enter(2), await enter(3)];
    stranger.say('getShared', await open(owner, mode));
    await isThrownOut(stranger, notGiven);
    expect(owner.link.closed).toBeUndefined();
  });

  test('one that it has given back', async () => {
    const stranger = await enter(2);
    const stag = await open(stranger, 'r');
    stranger.link.event('tagClose', { stag });
    await stranger.hears('tagClosed');
    stranger.link.event('tagGone', { stag });
    stranger.say('getShared', stag);
    await isThrownOut(stranger, notGiven);
  });

  test('one of a session that it has left', async () => {
    const stranger = await enter(2);
    const stag = await open(stranger, 'r');
    stranger.link.event('leaving', {});
    stranger.say('getShared', stag);
    await expect.poll(() => stranger.link.closed).toBeDefined();
    expect(stranger.received).toBe(0);
    const again = await enter(2);
    again.say('getShared', stag);
    await isThrownOut(again, notGiven);
  });

  test('one of a file that is removed since, and another has its inode', async () => {
    const stranger = await enter(2);
    await fs.promises.rm('/file');
    await fs.promises.writeFile('/file', content);
    expect(identify('/file')).toEqual({ ino: file.ino, generation: file.generation + 1 });
    await expect(open(stranger, 'r')).rejects.toMatchObject({ code: 'ESTALE' });
  });

  test('one to read, to store', async () => {
    const stranger = await enter(2);
    stranger.say('getExclusive', await open(stranger, 'r'));
    await isThrownOut(stranger, { code: 'EACCES' });
  });
});

describe('is thrown out who says', () => {
  const broken = { code: 'EPROTO' };

  test.each<[string, ToDirectory | number]>([
    ['what there is not', toDirectoryNames.length],
    ['that it gives back what it was not given', 'returned'],
    ['that it evicts what it was not given', 'evicted'],
    ['that it has done what it was not asked for', 'invalidateAck'],
  ])('%s', async (_, message) => {
    const stranger = await enter(2);
    stranger.say(message, await open(stranger, 'rw'));
    await isThrownOut(stranger, broken);
  });

  test.each([2 ** 28, 2 ** 28 + 1, 2 ** 32 - 1])('that it wants block %i, of another file', async (index) => {
    const stranger = await enter(2);
    // The next inode: its blocks follow those of this one.
    expect(identify('/other').ino).toBe(file.ino + 1);
    stranger.say('getExclusive', await open(stranger, 'rw'), { index });
    await isThrownOut(stranger, broken);
  });

  test('that it is done with an STag which it did not give back', async () => {
    const stranger = await enter(2);
    stranger.link.event('tagGone', { stag: await open(stranger, 'r') });
    await isThrownOut(stranger, broken);
  });

  test('that it gives an STag back, and keeps a block', async () => {
    const stranger = await enter(2);
    const stag = await open(stranger, 'rw');
    stranger.say('getExclusive', stag);
    await stranger.hears('toHolder');
    stranger.link.event('tagClose', { stag });
    await stranger.hears('tagClosed');
    stranger.link.event('tagGone', { stag });
    // The home wants it back, and has it when the lease is over, however often the stranger comes back.
    const reading = fs.promises.readFile('/file', 'utf8');
    await expect.poll(() => stranger.link.closed).toMatchObject(broken);
    await expect(enter(2, stranger.session)).rejects.toMatchObject(broken);
    expect(await reading).toBe(content);
  });

  test('that a message is the third when it is the first', async () => {
    const stranger = await enter(2);
    stranger.say('getShared', await open(stranger, 'r'), { number: 3 });
    await isThrownOut(stranger, broken);
  });

  test('that it has heard what was never said', async () => {
    const stranger = await enter(2);
    stranger.say('getShared', await open(stranger, 'r'), { received: 1000 });
    await isThrownOut(stranger, broken);
  });
});
