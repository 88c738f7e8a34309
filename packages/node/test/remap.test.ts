/** Pages that files leave: who may still map them keeps them, whatever one commit does to a file. */
import { join } from 'node:path';
import { type ClusterFs, mount } from 'cluster-fs';
import { pageSize } from 'cluster-fs/segment';
import { expect, onTestFinished, test } from 'vitest';
import { startNode } from '../src/cluster/start.ts';
import type { Coordinator } from '../src/coordinator/coordinator.ts';
import { changeExtents, movePages } from '../src/coordinator/remap.ts';
import { clip, merge, without } from '../src/coordinator/runs.ts';
import type { Session } from '../src/coordinator/session.ts';
import { acknowledge, advance, lease } from '../src/coordinator/views.ts';
import { makeHome } from './cli-process.ts';

const pages = 4;

/** A node, a file of four pages, and a client that maps it and answers when the test says so. */
async function scene(follow: 'live' | 'manual') {
  const node = startNode({ socketPath: join(makeHome(), 'node.sock'), memory: 2 ** 22 });
  onTestFinished(() => node.stop());
  const fs = await mount(`unix:${node.socketPath}`);
  onTestFinished(() => fs.unmount());
  await fs.promises.writeFile('/file', Buffer.alloc(pages * pageSize, 1));
  const { coordinator: c } = node;
  const { session, heard } = onlooker(c, fs);
  const request = { path: '/file', mode: 'r', follow, offset: 0, length: undefined } as const;
  const { view } = await lease(c, session, { ...request, reserve: undefined, guess: undefined });
  const ino = fs.statSync('/file').ino;
  const change = (work: () => void) => c.alone(ino, () => c.journal.mutate(work));
  const answer = (serial: number) => acknowledge(c, session, { view, serial });
  const held = () => [...c.quarantine.all].flatMap(({ runs }) => runs).sort((a, b) => a.page - b.page);
  return { c, ino, session, view, heard, change, answer, held };
}

function onlooker(c: Coordinator, { statSync }: ClusterFs) {
  const heard: unknown[] = [];
  const { uid, gid } = statSync('/file');
  const session = {
    id: c.nextId(),
    pid: process.pid,
    access: 'rw',
    credentials: { uid, gids: [gid] },
    control: { event: (_: string, fields: unknown) => heard.push(fields), close: () => undefined },
    userfault: undefined,
    views: new Map(),
    ended: false,
  } as unknown as Session;
  return { session, heard };
}

test('an answer to the first change of a commit does not let go of what the second one took', async () => {
  const { c, ino, heard, change, answer, held } = await scene('live');
  const before = c.extents(ino);
  await change(() => {
    changeExtents(c, ino, without(before, 0, 1), { cause: 'punch', from: 0, count: 1 });
    changeExtents(c, ino, without(before, 0, 2), { cause: 'punch', from: 1, count: 1 });
  });
  expect(heard).toMatchObject([{ serial: 1 }, { serial: 2 }]);
  const [first] = clip(before, 0, 1);
  expect(held()).toHaveLength(2);
  answer(1);
  expect(held()).toEqual([{ page: (first?.page ?? 0) + 1, count: 1 }]);
  answer(2);
  expect(held()).toEqual([]);
});

test('pages that a commit gives a file and takes again are kept for who is told of both', async () => {
  const { c, ino, heard, change, answer, held } = await scene('live');
  const before = c.extents(ino);
  const [run] = c.writer.pages.allocate(1) ?? [];
  if (run === undefined) throw new Error('no page');
  const given = merge(without(before, 0, 1), [{ filePage: 0, ...run }]);
  await change(() => {
    changeExtents(c, ino, given, { cause: 'replace', from: 0, count: 1 });
    changeExtents(c, ino, without(before, 0, 1), { cause: 'punch', from: 0, count: 1 });
  });
  expect(heard).toMatchObject([{ extents: [run] }, { extents: [] }]);
  answer(1);
  expect(held()).toEqual([run]);
  answer(2);
  expect(held()).toEqual([]);
});

test('what is undone was told nobody: its pages wait for nobody', async () => {
  const { c, ino, heard, change, answer, held } = await scene('live');
  const before = c.extents(ino);
  const undone = change(() => {
    changeExtents(c, ino, without(before, 0, 1), { cause: 'punch', from: 0, count: 1 });
    throw new Error('undone');
  });
  await expect(undone).rejects.toThrow('undone');
  await change(() => changeExtents(c, ino, [], { cause: 'punch', from: 0, count: pages }));
  expect(heard).toMatchObject([{ serial: 1, count: pages }]);
  answer(1);
  expect(held()).toEqual([]);
});

test('a view that keeps an old page keeps it also when it answers a move of others', async () => {
  const { c, ino, session, view, heard, change, answer, held } = await scene('manual');
  const before = c.extents(ino);
  await change(() => changeExtents(c, ino, without(before, 0, 1), { cause: 'punch', from: 0, count: 1 }));
  const old = clip(before, 0, 1).map(({ page, count }) => ({ page, count }));
  expect(held()).toEqual(old);
  const [from] = clip(before, 1, 1);
  const [to] = c.writer.pages.allocate(1) ?? [];
  if (from === undefined || to === undefined) throw new Error('no page');
  await change(() => {
    const moved = [{ from: from.page, to: to.page, count: 1 }];
    movePages(c, ino, moved, { cause: 'move', from: 1, count: 1 });
  });
  expect(heard).toMatchObject([{ layoutVersion: expect.any(Number) }, { serial: 1, cause: 'move' }]);
  answer(1);
  expect(held()).toEqual(old);
  const { serial } = await advance(c, session, { view });
  expect(held()).toEqual(old);
  answer(serial);
  expect(held()).toEqual([]);
});
