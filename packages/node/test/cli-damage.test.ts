/** The command line on a store that is damaged: one line that says so, an exit code, and nothing half. */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mount, runDirectory } from 'cluster-fs';
import { expect, test } from 'vitest';
import { makeHome, run, serve } from './cli-process.ts';

const page = 4096;

test('files are read out as far as they are whole, and a damaged one is named', async () => {
  const home = makeHome();
  const store = join(home, 'store');
  const bytes = randomBytes(6 * 2 ** 20);
  const whole = randomBytes(2 ** 20 + 5);
  const hit = 5 * 2 ** 20;
  const before = await serve(['--store', store]);
  const fs = await mount(before.url);
  await fs.promises.writeFile('/damaged', bytes);
  await fs.promises.writeFile('/whole', whole);
  await fs.unmount();
  await before.interrupt();
  const data = readFileSync(join(store, 'data'));
  const place = data.indexOf(bytes.subarray(hit, hit + page));
  data.writeUInt8(data.readUInt8(place) ^ 1, place);
  writeFileSync(join(store, 'data'), data);

  const node = await serve(['--store', store]);
  const at = ['--url', node.url];
  const out = makeHome();
  const failure = {
    code: 1,
    signal: null,
    stderr: expect.stringMatching(/^clusterfs \w+: EIO.*'\/damaged'.*\n$/),
  };
  expect(await run(['cat', '/damaged', ...at])).toMatchObject(failure);
  expect(await run(['get', '/damaged', join(out, 'got'), ...at])).toMatchObject(failure);
  expect(await run(['dump', join(out, 'dump.tar'), ...at])).toMatchObject(failure);
  expect(readdirSync(out)).toEqual([]);
  expect(await run(['get', '/whole', join(out, 'whole'), ...at])).toMatchObject({ code: 0 });
  expect(readFileSync(join(out, 'whole')).equals(whole)).toBe(true);
  const status = await run(['status', ...at]);
  expect(status.stdout).toContain('DAMAGED: 4 KiB of /damaged');
  expect((await node.interrupt()).code).toBe(0);

  expect(await run(['fsck', '--store', store, '--repair'])).toMatchObject({ code: 0 });
  const mended = await serve(['--store', store]);
  expect(await run(['get', '/damaged', join(out, 'got'), '--url', mended.url])).toMatchObject({ code: 0 });
  expect(readFileSync(join(out, 'got')).equals(bytes.fill(0, hit, hit + page))).toBe(true);
  await mended.interrupt();
  rmSync(runDirectory(store), { recursive: true, force: true });
});
