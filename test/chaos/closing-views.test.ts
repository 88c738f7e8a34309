/**
 * Views that close at the moment at which their files change: nobody loses a session, a change or a page
 * over it.
 */
import { readFileSync } from 'node:fs';
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startNodeProcess } from './node-process.ts';

const rounds = 300;

test('a view is closed and its file replaced at once, by the same client', async () => {
  const { fs, expectCalm } = await start();
  for (let round = 0; round < rounds; round++) {
    const view = await fs.map('/file', { mode: round % 2 === 0 ? 'r' : 'rw' });
    view.close();
    await fs.promises.writeFile('/file', Buffer.alloc(40_000, round));
  }
  await expectCalm();
});

test('a view is closed while another client moves, cuts and replaces its file', async () => {
  const { fs, other, expectCalm } = await start();
  for (let round = 0; round < rounds; round++) {
    const view = await other.map('/file', { mode: round % 2 === 0 ? 'r' : 'rw' });
    const changed = [
      () => fs.move('/file'),
      () => fs.promises.truncate('/file', 20_000),
      () => fs.promises.writeFile('/file', Buffer.alloc(40_000, round)),
    ][round % 3]?.();
    if (round % 2 === 0) await Promise.resolve();
    view.close();
    await changed;
  }
  await expectCalm();
});

test('a view is opened while another client moves and replaces its file', async () => {
  const { fs, other, expectCalm } = await start();
  for (let round = 0; round < rounds; round++) {
    const content = Buffer.alloc(40_000, round);
    const [view] = await Promise.all([
      other.map('/file', { mode: round % 2 === 0 ? 'r' : 'rw' }),
      round % 3 === 0 ? fs.promises.writeFile('/file', content) : fs.move('/file'),
    ]);
    if (round % 3 === 0) await expect.poll(() => view.bytes[39_999], { interval: 1 }).toBe(round % 256);
    view.close();
  }
  await expectCalm();
});

test('nobody else gets the addresses of a closed view before the node has heard of that', async () => {
  const { fs, node, expectCalm } = await start();
  const view = await fs.map('/file', { mode: 'rw' });
  const { address } = view;
  process.kill(node.pid, 'SIGSTOP');
  view.close();
  await expect.poll(() => protectionAt(address)).toBe('---p');
  process.kill(node.pid, 'SIGCONT');
  await expect.poll(() => protectionAt(address)).not.toBe('---p');
  await expectCalm();
});

async function start() {
  const node = await startNodeProcess();
  const [fs, other] = [await mountForTest(node.url), await mountForTest(node.url)];
  let away = 0;
  for (const client of [fs, other]) client.on('away', () => away++);
  await fs.promises.writeFile('/file', Buffer.alloc(40_000));
  const expectCalm = async () => {
    expect(away).toBe(0);
    expect(node.errors).toEqual([]);
    await expect.poll(async () => (await fs.holders()).length).toBe(0);
    await expect.poll(async () => (await fs.status()).quarantinedBytes).toBe(0);
    expect(await fs.check()).toEqual([]);
  };
  return { fs, other, node, expectCalm };
}

/** As /proc/self/maps has it. */
function protectionAt(address: number): string | undefined {
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const [, from, to, protection] = /^(\w+)-(\w+) (\S+)/.exec(line) ?? [];
    if (Number(`0x${from}`) <= address && address < Number(`0x${to}`)) return protection;
  }
  return undefined;
}

async function mountForTest(url: string): Promise<ClusterFs> {
  const fs = await mount(url);
  onTestFinished(() => fs.unmount());
  return fs;
}
