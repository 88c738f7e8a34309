/** What nodes know of a move, and tell, when something is in the way just then. */
import { FsError } from '@cluster-fs/transport';
import type { PeerLink } from '@cluster-fs/transport/peer';
import { homeIn } from 'cluster-fs/segment';
import { expect, test } from 'vitest';
import { ChangeFeed, Follower } from '../src/cluster/feed.ts';
import { FollowerList } from '../src/cluster/follower-list.ts';
import { coordinatorNumber, type Homes } from '../src/cluster/homes.ts';
import { toPeerInode } from '../src/cluster/rows.ts';
import { inodeRow } from '../src/coordinator/journal.ts';
import type { ClusterNode } from '../src/node.ts';
import { startTwo, timeout } from './two-keepers.ts';

const homesOf = ({ coordinator }: ClusterNode): Homes => coordinator.blocks as Homes;
const numberOfB = 1;

test('processes of an old home look for the lease of the next one before the commit', {
  timeout,
}, async () => {
  const { a, b, atA, atB } = await startTwo();
  await atA.promises.writeFile('/f', 'content');
  await atA.migrate('/f', 'b');
  const { ino } = atB.statSync('/f');
  const { published, mutate } = b.coordinator.journal;
  const shown = () => [homesOf(b).homeOf(ino), homeIn(published, ino)];
  expect(shown()).toEqual([numberOfB, numberOfB]);
  const { journal } = a.coordinator;
  const commit = journal.mutate.bind(journal);
  const seen: number[][] = [];
  journal.mutate = (change) => {
    seen.push(shown());
    return commit(change);
  };
  const { moving } = b.home as NonNullable<typeof b.home>;
  const give = moving.give.bind(moving);
  moving.give = async (asked) => {
    await give(asked);
    seen.length = 0;
    // Whatever else is committed there meanwhile.
    await mutate.call(b.coordinator.journal, () => {
      b.coordinator.writer.touchInode(ino).atimeMs = 1;
    });
  };
  await atA.migrate('/f', 'a');
  expect(seen[0]).toEqual([numberOfB, coordinatorNumber]);
});

test('a move that begins before the end of the last one is known', { timeout }, async () => {
  const { a, b, atA } = await startTwo();
  await atA.promises.writeFile('/f', 'content');
  await atA.migrate('/f', 'b');
  const { moving } = b.home as NonNullable<typeof b.home>;
  const give = moving.give.bind(moving);
  moving.give = async (asked) => {
    moving.give = give;
    await give(asked);
    // Nobody hears that it was given.
    homesOf(a).neighbour(numberOfB).line.current?.close();
    throw new FsError('ECONNRESET', 'give');
  };
  await expect(atA.migrate('/f', 'a')).rejects.toMatchObject({ code: 'ECONNRESET' });
  await atA.migrate('/f', 'a');
  expect(await atA.promises.readFile('/f', 'utf8')).toBe('content');
});

test('who was away hears which home a file has, and not where it has been', { timeout }, async () => {
  const { a, atA } = await startTwo();
  await atA.promises.writeFile('/f', 'content');
  const { ino } = atA.statSync('/f');
  const { published } = a.coordinator.journal;
  const feed = new ChangeFeed(
    published,
    () => a.coordinator.writer.inodeLimit,
    new FollowerList(a.coordinator.store),
  );
  const heard: number[] = [];
  const link = {
    event: (_: string, { inodes }: { inodes: readonly { home: number }[] }) =>
      heard.push(...inodes.map(({ home }) => home)),
  } as unknown as PeerLink;
  const follower = new Follower(2);
  feed.follow(follower, link, { feed: feed.position.feed, sequence: 0 });
  await new Promise((goOn) => setImmediate(goOn));
  feed.linkDown(follower);
  const row = toPeerInode(inodeRow(published, ino) as NonNullable<ReturnType<typeof inodeRow>>);
  for (const home of [7, coordinatorNumber])
    void feed.committed({ inodes: [{ ...row, home }], gone: [], names: [] });
  expect(heard).toEqual([]);
  feed.follow(follower, link, { feed: feed.position.feed, sequence: 0 });
  await new Promise((goOn) => setImmediate(goOn));
  expect(heard).toEqual([coordinatorNumber, coordinatorNumber]);
});

test('a right of a session that is over is not given back in the next one', { timeout }, async () => {
  const { a, b, line, atA, atB } = await startTwo();
  await atA.promises.writeFile('/f', 'content');
  await atB.map('/f');
  const { ino } = atB.statSync('/f');
  const { borrowed } = homesOf(b).neighbour(coordinatorNumber);
  await line.cut();
  await expect.poll(() => borrowed.session, { timeout }).toBeUndefined();
  const up = borrowed.linkUp.bind(borrowed);
  borrowed.linkUp = () => {
    up();
    borrowed.giveBack(ino);
  };
  await line.mend();
  await expect.poll(() => borrowed.session, { timeout }).toBeDefined();
  const { session } = borrowed;
  expect(await atB.promises.readFile('/f', 'utf8')).toBe('content');
  expect(borrowed.session).toBe(session);
  expect(a.home?.report.nodes.map(({ name }) => name)).toContain('b');
});
