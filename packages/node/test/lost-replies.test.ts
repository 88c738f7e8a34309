/** What a node is given in an answer that is lost with its link is given once, and given back. */
import { FsError, type RequestName, requestNameOf } from '@cluster-fs/transport';
import { PeerLink } from '@cluster-fs/transport/peer';
import type { ClusterFs } from 'cluster-fs';
import { InodeCopy, readInode } from 'cluster-fs/segment';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Guests } from '../src/cluster/guests.ts';
import { Lent } from '../src/cluster/lent.ts';
import { Journal } from '../src/coordinator/journal.ts';
import { reservedRuns } from '../src/coordinator/reserve.ts';
import { pageCountOf } from '../src/coordinator/runs.ts';
import { endSession } from '../src/coordinator/sessions.ts';
import type { ClusterNode } from '../src/node.ts';
import { startHome } from './stranger.ts';
import { startTwo, timeout } from './two-keepers.ts';

/** Those that a node has given, and that it has. */
const stagsOf = ({ home, member }: ClusterNode): number => {
  const report = member === undefined ? home?.report : home?.reportWith(member.report);
  return report?.stags ?? 0;
};

/** The link over which such a request was sent last. */
function linkOf(...names: readonly string[]): () => PeerLink {
  let last: PeerLink | undefined;
  const { request } = PeerLink.prototype;
  vi.spyOn(PeerLink.prototype, 'request').mockImplementation(function (this: PeerLink, ...asked) {
    if (names.includes(asked[0])) last = this;
    return request.apply(this, asked) as never;
  });
  onTestFinished(() => void vi.restoreAllMocks());
  return () => last ?? expect.fail(`nobody asked for ${names}`);
}

const cut = (link: PeerLink): void => link.close(new FsError('ECONNRESET', 'test', { why: 'cut' }));

test('who asks again under the same number gets the same STag', async () => {
  const { enter, fs, segment } = await startHome();
  await fs.promises.writeFile('/file', 'content');
  const inode = new InodeCopy();
  readInode(segment, fs.statSync('/file').ino, inode);
  const asked = { ino: inode.ino, generation: inode.generation, mode: 'rw' } as const;
  const before = await enter(2);
  const stag = await before.tag(asked, 1);
  before.link.close();
  const after = await enter(2, before.session);
  expect(await after.tag(asked, 1)).toEqual(stag);
  expect(await after.tag(asked, 2)).not.toEqual(stag);
  const other = await enter(3);
  expect(await other.tag(asked, 1)).not.toEqual(stag);
});

test('an STag whose answer was lost is asked for again, and given back', { timeout }, async () => {
  const { a, atA, atB } = await startTwo();
  await atA.promises.writeFile('/file', 'content');
  const link = linkOf('tagOpen');
  const { tag } = Lent.prototype;
  let asked = 0;
  vi.spyOn(Lent.prototype, 'tag').mockImplementation(async function (this: Lent, ...request) {
    const stag = await tag.apply(this, request);
    if (++asked === 1) cut(link());
    return stag;
  });
  expect(await atB.promises.readFile('/file', 'utf8')).toBe('content');
  expect(asked).toBe(2);
  await atA.promises.unlink('/file');
  await expect.poll(() => stagsOf(a), { timeout }).toBe(0);
});

test('the STag of a file that is not handed over after all is given back', { timeout }, async () => {
  const { a, b, atA, atB } = await startTwo();
  await atA.promises.writeFile('/file', 'content');
  const link = linkOf('handOver');
  const { give } = Lent.prototype;
  let given = 0;
  vi.spyOn(Lent.prototype, 'give').mockImplementation(function (this: Lent, ...asked) {
    const stag = give.apply(this, asked);
    if (++given === 1) cut(link());
    return stag;
  });
  await expect(atA.migrate('/file', 'b')).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(given).toBe(1);
  await atA.promises.unlink('/file');
  await expect.poll(() => [stagsOf(a), stagsOf(b)], { timeout }).toEqual([0, 0]);
  await atA.promises.writeFile('/next', 'content');
  await atA.migrate('/next', 'b');
  await atA.promises.writeFile('/next', 'newer');
  expect(await atB.promises.readFile('/next', 'utf8')).toBe('newer');
});

/** The answer to the first such request of a client of another node is lost with its link. */
function loseAnswer(name: RequestName): void {
  const link = linkOf('forward', 'forwardContent');
  const { forward } = Guests.prototype;
  let asked = 0;
  vi.spyOn(Guests.prototype, 'forward').mockImplementation(async function (this: Guests, ...request) {
    const answer = await forward.apply(this, request);
    if (requestNameOf(request[0].type) === name && ++asked === 1) cut(link());
    return answer;
  });
}

const lost = { code: 'ECONNRESET' };

/** What clients of other nodes have of a node. */
const givenBy = ({ coordinator: c }: ClusterNode) => {
  const guests = [...c.sessions.values()].filter(({ isGuest }) => isGuest);
  return {
    handles: guests.flatMap(({ handles }) => [...handles.values()]).length,
    pages: pageCountOf(guests.flatMap((guest) => reservedRuns(guest))),
  };
};

test('a handle whose answer was lost is closed', { timeout }, async () => {
  const { a, atA, atB } = await startTwo();
  await atA.promises.writeFile('/file', 'content');
  loseAnswer('open');
  await expect(atB.promises.open('/file')).rejects.toMatchObject(lost);
  await atB.promises.chmod('/file', 0o600);
  await expect.poll(() => givenBy(a), { timeout }).toEqual({ handles: 0, pages: 0 });
  await using handle = await atB.promises.open('/file');
  expect(await handle.readFile('utf8')).toBe('content');
  expect(givenBy(a).handles).toBe(1);
});

/** So much is brought in several messages. */
const long = 'newer'.repeat(100_000);

test.each([
  ['reserve', 'a long one', long, 'content'],
  ['put', 'a long one', long, long],
  ['put', 'a short one, that came with it', 'newer', 'newer'],
] as const)(
  'pages are free again when the answer to `%s` was lost: %s',
  { timeout },
  async (name, _, content, now) => {
    const { a, atA, atB } = await startTwo();
    await atA.promises.writeFile('/file', 'content');
    loseAnswer(name);
    await expect(atB.promises.writeFile('/file', content)).rejects.toMatchObject(lost);
    await expect.poll(() => givenBy(a), { timeout }).toEqual({ handles: 0, pages: 0 });
    expect(await atA.promises.readFile('/file', 'utf8')).toBe(now);
    await atB.promises.writeFile('/file', 'newest');
    expect(await atA.promises.readFile('/file', 'utf8')).toBe('newest');
    for (const fs of [atA, atB]) expect(await fs.check()).toEqual([]);
  },
);

async function writeFarAway(fs: ClusterFs): Promise<void> {
  await using handle = await fs.promises.open('/far', 'w');
  await handle.write(Buffer.alloc(4096), 0, 4096, 2 ** 40);
}

test.each([
  ['put', 'EISDIR', (fs: ClusterFs) => fs.promises.writeFile('/directory', 'content')],
  ['attachPages', 'EFBIG', (fs: ClusterFs) => writeFarAway(fs)],
] as const)(
  'pages that came with `%s` are free again when it fails: %s',
  { timeout },
  async (_, code, work) => {
    const { a, atA, atB } = await startTwo();
    await atA.promises.mkdir('/directory');
    await expect(work(atB)).rejects.toMatchObject({ code });
    await expect.poll(() => givenBy(a).pages, { timeout }).toBe(0);
    for (const fs of [atA, atB]) expect(await fs.check()).toEqual([]);
  },
);

test("pages of a client that has gone meanwhile are not filled: they are others'", { timeout }, async () => {
  const { a, atA, atB } = await startTwo();
  const c = a.coordinator;
  await atB.promises.writeFile('/file', 'content');
  const other = Buffer.alloc(3 * 2 ** 20, 7);
  const { mutate } = Journal.prototype;
  let taken = 0;
  vi.spyOn(Journal.prototype, 'mutate').mockImplementation(async function (this: Journal, operation) {
    const done = await mutate.call(this, operation);
    const isReserved = this === c.journal && 'runs' in Object(done);
    if (!isReserved || taken++ > 0) return done;
    // What it has set aside waits for other nodes to hear of what was changed with it.
    for (const session of [...c.sessions.values()])
      if (session.isGuest) endSession(c, session, new FsError('ECONNRESET', 'test'));
    await c.journal.nextFlush();
    await atA.promises.writeFile('/other', other);
    return done;
  });
  onTestFinished(() => void vi.restoreAllMocks());
  await expect(atB.promises.writeFile('/file', 'newer')).rejects.toMatchObject({ code: expect.any(String) });
  expect(taken).toBeGreaterThan(0);
  expect((await atA.promises.readFile('/other')).equals(other)).toBe(true);
  expect(await atA.promises.readFile('/file', 'utf8')).toBe('content');
});
