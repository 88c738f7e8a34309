/**
 * Clients that map a file to write and are stopped, killed or deaf when they are to let go of it: who waits
 * for them waits no longer than was said, and what they store when they go on is in no file of anybody else.
 */
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from './children.ts';
import { type NodeOptions, startNodeProcess } from './node-process.ts';

const MiB = 2 ** 20;
const fileBytes = MiB / 4;
const foreign = 0xdeadbeef;
const words = (word: number, bytes: number) => new Uint8Array(new Uint32Array(bytes / 4).fill(word).buffer);

interface Seen {
  readonly findings: readonly string[];
  readonly stored: number;
}

test('a stopped client that is recalled is EBUSY at the deadline, and goes on with its file', async () => {
  const { fs, holder } = await start({ recallDeadlineMs: 100 });
  holder.process.kill('SIGSTOP');
  const error = await failure(fs.promises.truncate('/file', 0));
  expect(error).toMatchObject({ code: 'EBUSY', syscall: 'truncate', path: '/file' });
  expect(error.message).toMatch(new RegExp(`\\(pid ${holder.pid}\\).*did not let go in 100 ms`));
  await fillWithOthers(fs);
  holder.process.kill('SIGCONT');
  await holder.hear('recalled');
  await expectOnlyOwn(fs, holder);
  expect((await fs.promises.readFile('/file')).equals(words(0x11000002, fileBytes))).toBe(true);
}, 30_000);

test('a stopped client whose session is revoked for a change stores into no other file', async () => {
  const { fs, holder } = await start({ recallDeadlineMs: 100, onConflict: 'revoke' });
  holder.process.kill('SIGSTOP');
  await fs.promises.truncate('/file', 0);
  await expectKept(fs);
  await fillWithOthers(fs);
  holder.process.kill('SIGCONT');
  expect(await holder.hear('lost')).toMatchObject({
    code: 'ECANCELED',
    message: expect.stringContaining("truncate '/file' needed its pages"),
  });
  await expectNothingKept(fs);
  await fillWithOthers(fs);
  await expectOnlyOwn(fs, holder);
}, 30_000);

test.each(['pinned', 'on-demand'] as const)(
  'a stopped client (%s) that an operator revokes stores into no other file',
  async (mode) => {
    const { fs, holder, session } = await start({}, mode);
    holder.process.kill('SIGSTOP');
    await fs.revoke(session);
    await fs.promises.unlink('/file');
    await expectKept(fs, 'used');
    await fillWithOthers(fs);
    holder.process.kill('SIGCONT');
    await holder.hear('lost');
    await expectNothingKept(fs);
    await fillWithOthers(fs);
    await expectOnlyOwn(fs, holder);
  },
  30_000,
);

test('a stopped client that is cut off since it reads no events stores into no other file', async () => {
  const { fs, holder } = await start({ limits: { keptBytes: 8 * MiB } }, 'on-demand', 'watches');
  const path = `/${'x'.repeat(200)}`;
  await fs.promises.writeFile(path, '');
  holder.process.kill('SIGSTOP');
  const isRevoked = async (): Promise<boolean> =>
    ((await fs.status()).sessions as { revoked: boolean }[]).some(({ revoked }) => revoked);
  while (!(await isRevoked()))
    await Promise.all(Array.from({ length: 100 }, () => fs.promises.chmod(path, 0o600)));
  await fs.promises.unlink('/file');
  await expectKept(fs, 'used');
  await fillWithOthers(fs);
  holder.process.kill('SIGCONT');
  expect(await holder.hear('lost')).toMatchObject({ code: 'ECANCELED' });
  await expectNothingKept(fs);
  await fillWithOthers(fs);
  await expectOnlyOwn(fs, holder);
}, 60_000);

test('a stopped client that owes an answer and is revoked holds up no move', async () => {
  const { fs, holder, session } = await start({}, 'on-demand');
  holder.process.kill('SIGSTOP');
  await fs.promises.writeFile('/file', words(0x11000003, fileBytes));
  await fs.revoke(session);
  await fs.move('/file');
  await fs.promises.writeFile('/file', words(0x11000004, fileBytes));
  await fillWithOthers(fs);
  holder.process.kill('SIGCONT');
  await holder.hear('lost');
  await expectNothingKept(fs);
  expect((await fs.promises.readFile('/file')).equals(words(0x11000004, fileBytes))).toBe(true);
  await expectOnlyOwn(fs, holder);
}, 30_000);

test('a stopped client that is revoked and killed keeps nothing', async () => {
  const { fs, holder } = await start({ recallDeadlineMs: 100, onConflict: 'revoke' });
  holder.process.kill('SIGSTOP');
  await fs.promises.truncate('/file', 0);
  await expectKept(fs);
  await holder.kill();
  await expectNothingKept(fs);
}, 30_000);

test('a revoked client that is stopped holds up neither moves nor further changes', async () => {
  const { fs, holder } = await start({ recallDeadlineMs: 100, onConflict: 'revoke' });
  holder.process.kill('SIGSTOP');
  await fs.move('/file');
  for (let round = 0; round < 3; round++) {
    await fs.promises.writeFile('/file', words(0x11000003, fileBytes));
    await fs.move('/file');
  }
  await fillWithOthers(fs);
  holder.process.kill('SIGCONT');
  await holder.hear('lost');
  await expectOnlyOwn(fs, holder);
  expect((await fs.promises.readFile('/file')).equals(words(0x11000003, fileBytes))).toBe(true);
  await expectNothingKept(fs);
}, 30_000);

test('a client that dies while it is waited for has let go', async () => {
  const { fs, holder } = await start({ recallDeadlineMs: 60_000 });
  holder.process.kill('SIGSTOP');
  const done = fs.promises.truncate('/file', 0);
  await expect.poll(async () => ((await fs.status()).recalls as unknown[]).length).toBe(1);
  await holder.kill();
  await done;
  await expectNothingKept(fs);
}, 30_000);

test('a client that listens to nothing is not waited for, also while it computes', async () => {
  const { fs } = await start({ recallDeadlineMs: 60_000 }, 'pinned', 'computes');
  const error = await failure(fs.promises.truncate('/file', 0));
  expect(error).toMatchObject({ code: 'EBUSY', message: expect.stringContaining('nothing there listens') });
}, 30_000);

test('a client that computes and is revoked holds nothing up and stores into no other file', async () => {
  const { fs } = await start({ onConflict: 'revoke' }, 'pinned', 'computes');
  await fs.promises.truncate('/file', 0);
  await fillWithOthers(fs);
  expect(await fs.check()).toEqual([]);
}, 30_000);

async function start(
  options: NodeOptions,
  mode: 'pinned' | 'on-demand' = 'pinned',
  what: 'stores' | 'watches' | 'computes' = 'stores',
) {
  const node = await startNodeProcess({ memory: 4 * MiB, ...options });
  const fs = await mount(node.url);
  onTestFinished(async () => {
    await fs.unmount();
    expect(node.errors).toEqual([]);
  });
  await fs.promises.writeFile('/file', words(0x11000001, fileBytes));
  const holder = startChild('pinned-holder.mjs', [node.url, mode, what]);
  const { session } = await holder.hear<{ session: number }>('ready');
  return { node, fs, holder, session };
}

const failure = (done: Promise<unknown>): Promise<Error> =>
  done.then(
    () => new Error('it was done'),
    (reason: Error) => reason,
  );

/** Other files take every page that is free, and have their own bytes. */
async function fillWithOthers(fs: ClusterFs): Promise<void> {
  for (let i = 0; ; i++) {
    try {
      await fs.promises.writeFile(`/foreign-${i}`, words(foreign, MiB / 8));
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
      expect(i).toBeGreaterThan(8);
      return;
    }
  }
}

async function ask(holder: Child): Promise<Seen> {
  holder.send('what do you see');
  return holder.hear<Seen>('seen');
}

/** Also after it has stored some more. */
async function expectOnlyOwn(fs: ClusterFs, holder: Child): Promise<void> {
  const { stored } = await ask(holder);
  await expect.poll(async () => (await ask(holder)).stored).toBeGreaterThan(stored + 2);
  expect((await ask(holder)).findings).toEqual([]);
  for (const name of fs.readdirSync('/')) {
    if (!name.startsWith('foreign-')) continue;
    const content = await fs.promises.readFile(`/${name}`);
    expect(content.equals(words(foreign, content.length)), name).toBe(true);
    await fs.promises.unlink(`/${name}`);
  }
  expect(await fs.check()).toEqual([]);
}

/** What the stopped client maps is given to nobody. */
async function expectKept(fs: ClusterFs, how: 'quarantined' | 'used' = 'quarantined'): Promise<void> {
  const status = await fs.status();
  expect(status[`${how}Bytes`]).toBe(fileBytes);
  expect(status.sessions).toContainEqual(expect.objectContaining({ label: 'holder', revoked: true }));
  expect(await fs.check()).toEqual([]);
}

async function expectNothingKept(fs: ClusterFs): Promise<void> {
  await expect.poll(async () => (await fs.status()).sessions, { timeout: 5000 }).toHaveLength(1);
  await expect.poll(async () => (await fs.status()).quarantinedBytes, { timeout: 5000 }).toBe(0);
  expect(await fs.check()).toEqual([]);
}
