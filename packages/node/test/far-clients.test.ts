/** Clients of a node, as another node knows them: they come and go, whatever becomes of the line between. */
import { FsError } from '@cluster-fs/transport';
import { mount } from 'cluster-fs';
import { expect, test, vi } from 'vitest';
import { startTwo, timeout } from './two-keepers.ts';

test('who leaves while the line is away is gone at the other node, too', { timeout }, async () => {
  const { a, b, atB, line } = await startTwo();
  const guests = () => [...a.coordinator.sessions.values()].filter(({ isGuest }) => isGuest);
  const other = await mount(`unix:${b.socketPath}`);
  await other.promises.writeFile('/other', 'content');
  const handle = await atB.promises.open('/file', 'w');
  expect(guests().map(({ handles }) => handles.size)).toEqual([0, 1]);
  await line.cut();
  await handle.close();
  await other.unmount();
  await expect.poll(() => b.coordinator.sessions.size).toBe(1);
  await line.mend();
  await expect.poll(() => guests().map(({ handles }) => handles.size)).toEqual([0]);
});

test('what could not be committed here is asked for again', { timeout }, async () => {
  const { b, atA, atB } = await startTwo();
  const { store } = b.coordinator;
  const commit = store.commit.bind(store);
  let failures = 2;
  vi.spyOn(store, 'commit').mockImplementation((changes, ...more) => {
    const isIt = changes.some((change) => change.type === 'putDirent' && change.row.name === 'directory');
    if (isIt && failures-- > 0) throw new FsError('ENOSPC', 'commit');
    return commit(changes, ...more);
  });
  await atA.promises.mkdir('/directory');
  expect(failures).toBeLessThan(0);
  expect(atB.readdirSync('/')).toEqual(['directory']);
});
