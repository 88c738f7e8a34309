/** A node that keeps its lease and applies nothing holds the others up for a while, and not for good. */
import { expect, onTestFinished, test } from 'vitest';
import { startHome } from './stranger.ts';

/** Three leases, and time for a slow machine. */
const boundMs = 60_000;

test('who does not apply changes is cut off, and comes back anew', { timeout: boundMs }, async () => {
  const { fs, enter } = await startHome();
  const stranger = await enter(2);
  const pinging = setInterval(() => stranger.ping(), 500);
  onTestFinished(() => clearInterval(pinging));
  await stranger.link.request('follow', { feed: undefined, sequence: 0 });
  await stranger.hears('changes');
  await fs.promises.mkdir('/directory');
  expect(stranger.link.closed).toMatchObject({ code: 'ETIMEDOUT', why: expect.stringMatching(/not apply/) });

  const again = await enter(2);
  expect(again.session).not.toBe(stranger.session);
  const { reply } = await again.link.request('follow', { feed: undefined, sequence: 0 });
  await again.hears('changes');
  again.link.event('applied', { sequence: Number.MAX_SAFE_INTEGER });
  expect(reply.whole).toBe(true);
  await fs.promises.mkdir('/another');
  expect(again.link.closed).toBeUndefined();
});
