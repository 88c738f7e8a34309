/** What the command line shows while a change waits for a client to let go, and afterwards. */
import { once } from 'node:events';
import { mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { serve } from './cli-process.ts';

test('status, holders and events tell who is recalled, for what, and what became of it', async () => {
  const node = await serve(['--recall-deadline', '600000']);
  const fs = await mount(node.url);
  const holder = await mount(node.url, { mode: 'pinned', label: 'the holder' });
  onTestFinished(async () => {
    for (const each of [holder, fs]) await each.unmount();
    await node.stop();
  });
  await fs.promises.writeFile('/held', Buffer.alloc(10_000, 1));
  const events = node.start('events', '/held');
  const isHeard = async (): Promise<boolean> => {
    await fs.promises.utimes('/held', 1, 1);
    return events.stdout() !== '';
  };
  await expect.poll(isHeard, { timeout: 10_000 }).toBe(true);

  const view = await holder.map('/held', { mode: 'rw' });
  expect(await node.json('holders', '/held')).toMatchObject([{ revoked: false }]);
  const recalled = once(view, 'recall');
  const done = fs.promises.truncate('/held', 0);
  await recalled;
  const who = `session ${holder.session.id} \\(pid ${process.pid}\\)`;
  const waits = new RegExp(`^truncate of /held waits since \\S+ for ${who} to let go$`, 'm');
  expect(await node.text('status')).toMatch(waits);
  expect(await node.json('status')).toMatchObject({
    onConflict: 'wait',
    recallDeadlineMs: 600_000,
    recalls: [{ path: '/held', reason: 'truncate' }],
  });
  const [head = '', line = ''] = (await node.text('holders', '/held')).split('\n');
  expect(head).toContain('RECALLED');
  expect(line).toMatch(/ \d+(\.\d+)? \w+ +- +\/held +the holder$/);

  view.close();
  await done;
  expect(await node.text('status')).not.toMatch(/waits since/);
  await events.says(/ modify +\/held/);
  const about = `session=${holder.session.id} pid=${process.pid} reason=truncate`;
  expect(events.stdout()).toMatch(new RegExp(` recall +/held ${about} deadlineMs=600000$`, 'm'));
  expect(events.stdout()).toMatch(
    new RegExp(` recalled +/held ${about} outcome=released waitedMs=\\d+$`, 'm'),
  );
  expect(await events.interrupt()).toMatchObject({ code: 130, stderr: '' });
});
