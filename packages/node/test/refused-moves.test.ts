/** Moves that cannot come to an end are refused before they begin: the file stays where it was. */
import { mostBlockRuns, mostPageRuns } from '@cluster-fs/transport/peer';
import { pageSize, setExtents } from 'cluster-fs/segment';
import { expect, test } from 'vitest';
import { blockOf } from '../src/cluster/blocks.ts';
import { blockRuns } from '../src/cluster/moving.ts';
import { startTwo, timeout } from './two-keepers.ts';

test('a file with more holes than another home may tell of', { timeout }, async () => {
  const runs = mostPageRuns + 1;
  const { a, b, atA, atB } = await startTwo({ memory: 4 * runs * pageSize, inodeCount: 8192 });
  await atA.promises.writeFile('/file', 'content');
  const { coordinator: c } = a;
  const { ino } = atA.statSync('/file');
  await c.alone(ino, () =>
    c.journal.mutate(() => {
      const first = c.extents(ino);
      const pages = c.writer.pages.allocate(runs - 1) ?? [];
      const [run] = pages;
      if (run?.count !== runs - 1) throw new Error('pages in more than one run');
      const rest = Array.from({ length: run.count }, (_, i) => ({
        filePage: 2 * (i + 1),
        page: run.page + i,
        count: 1,
      }));
      setExtents(c.writer, ino, [...first, ...rest]);
      Object.assign(c.writer.touchInode(ino), { size: 2 * runs * pageSize });
    }),
  );
  await expect(atA.migrate('/file', 'b')).rejects.toMatchObject({ code: 'EFBIG', path: '/file' });
  expect(b.member?.keepsSome).toBe(false);
  // It changes as others do, and nobody is held up by that for as long as a lease.
  await atA.promises.truncate('/file', 7);
  await atA.migrate('/file', 'b');
  expect(await atB.promises.readFile('/file', 'utf8')).toBe('content');
});

test('a file whose blocks others use in more places than a message names', () => {
  const scattered = Array.from({ length: mostBlockRuns + 1 }, (_, i) => blockOf(1, 2 * i));
  expect(() => blockRuns(scattered)).toThrow(expect.objectContaining({ code: 'EBUSY' }));
  expect(blockRuns(scattered.slice(1))).toHaveLength(mostBlockRuns);
  expect(blockRuns([blockOf(1, 2), blockOf(1, 0), blockOf(1, 1)])).toEqual([{ from: 0, count: 3 }]);
});

test('a file that is sent to a node which is stopping', { timeout }, async () => {
  const { b, atA, atB } = await startTwo();
  await atA.promises.writeFile('/file', 'content');
  b.home?.moving.stop();
  await expect(atA.migrate('/file', 'b')).rejects.toMatchObject({ code: 'ENONET', path: '/file' });
  expect(b.member?.keepsSome).toBe(false);
  expect(await atB.promises.readFile('/file', 'utf8')).toBe('content');
});
