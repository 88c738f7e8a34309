/** A client that its node cannot see in /proc: the node runs in a container, say, and the client does not. */
import { expect, test } from 'vitest';
import { startChild } from './children.ts';
import { mountForTest, startNodeProcess } from './node-process.ts';

const MiB = 2 ** 20;
const timeout = 30_000;
/** In front of a command: it sees no process but itself and its children. */
const apart = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
const isRoot = process.getuid?.() === 0;

test.skipIf(!isRoot)(
  'a client in another PID namespace is waited for while it lives (needs root, for a PID namespace)',
  { timeout },
  async () => {
    const node = await startNodeProcess({ memory: 32 * MiB, enter: apart });
    const fs = await mountForTest(node);
    await fs.promises.writeFile('/large', Buffer.alloc(MiB));
    const [stopped, killed] = [0, 1].map(() => startChild('leaver.mjs', [node.url])) as [Child, Child];
    for (const child of [stopped, killed]) {
      await child.hear('mounted');
      child.process.kill('SIGSTOP');
    }
    await node.kill();
    // Its first process is killed, and the node with it, in a moment.
    await expect.poll(() => node.start().then(() => 'serves', codeOf), { timeout }).toBe('serves');
    const waitedFor = async () => (await fs.status()).unresolvedSessions;
    const unseen = expect.objectContaining({ pid: 0 });
    await expect.poll(waitedFor).toEqual([unseen, unseen]);
    await killed.kill();
    await expect.poll(waitedFor).toEqual([unseen]);
    await expect(fs.move('/large')).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringContaining('another PID namespace'),
    });
    stopped.process.kill('SIGCONT');
    await expect.poll(waitedFor).toEqual([]);
    await fs.move('/large');
    expect((await fs.promises.readFile('/large'))[0]).toBe(1);
    expect(await fs.check()).toEqual([]);
  },
);

type Child = ReturnType<typeof startChild>;

const codeOf = ({ code }: { readonly code: string }): string => code;
