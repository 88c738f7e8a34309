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
  stranger.applies = false;
  await fs.promises.mkdir('/directory');
  expect(stranger.link.closed).toMatchObject({ code: 'ETIMEDOUT', why: expect.stringMatching(/not apply/) });

  const again = await enter(2);
  expect(again.session).not.toBe(stranger.session);
  await fs.promises.mkdir('/another');
  expect(again.link.closed).toBeUndefined();
});
