/** What touches get while the home of a file is away: `onHomeLoss`. */
import { expect, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import { mountForTest, startNodeProcess } from '../chaos/node-process.ts';
import { freePort } from './line.ts';

const block = 65_536;
/** In a block that nobody has read ahead. */
const far = 50 * block;
/** A lease, the start of a home that lets nobody in before it is over, and what it takes to notice. */
const timeout = 60_000;

async function touch(child: Child, at: number, store?: number): Promise<number> {
  child.send({ at, store });
  return (await child.hear<{ value: number }>('touched')).value;
}

/** Why the process died of that touch. */
async function diesOf(child: Child, at: number): Promise<string> {
  const said = await touch(child, at).catch((reason: Error) => reason.message);
  if (typeof said === 'number') return `it has read ${said}`;
  await child.ended();
  return `${child.process.signalCode}: ${said}`;
}
const diesOfSigbus = /SIGBUS: .*no readable content behind view of \/file at offset/s;

test('they wait, fail, or are poisoned, as each process wants it', { timeout }, async () => {
  const peerPort = await freePort();
  const home = await startNodeProcess({ peerPort });
  const member = await startNodeProcess({ joinPort: peerPort });
  const fs = await mountForTest(home);
  await fs.promises.writeFile('/file', Buffer.alloc(64 * block, 7));
  const start = async (mode: 'r' | 'rw', onHomeLoss: 'wait' | 'fail' | 'poison'): Promise<Child> => {
    const child = startChild('../cluster/far-toucher.mjs', [member.url, '/file', mode, onHomeLoss]);
    await child.hear('ready');
    expect(await touch(child, 0)).toBe(7);
    return child;
  };
  const waits = await start('r', 'wait');
  const [fails, recovers] = [await start('r', 'fail'), await start('rw', 'fail')];
  const [isCut, staysCut] = [await start('rw', 'poison'), await start('r', 'poison')];

  await home.kill();
  const waited = touch(waits, far);
  // Touched before the lease is over, and after it, in a block that was here.
  expect(await diesOf(fails, far)).toMatch(diesOfSigbus);
  expect(await diesOf(isCut, 0)).toMatch(diesOfSigbus);

  await home.start();
  expect(await waited).toBe(7);
  await recovers.hear('remapped');
  expect(await touch(recovers, far)).toBe(7);
  expect(await touch(recovers, far + 1, 8)).toBe(8);
  expect(await touch(waits, far + 1)).toBe(8);
  expect(await diesOf(staysCut, 0)).toMatch(diesOfSigbus);
  expect(member.errors).toEqual([]);
});
