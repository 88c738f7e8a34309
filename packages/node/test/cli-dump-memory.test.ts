/** Dump and load of a file that is several times larger than the memory that they may take. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mount } from 'cluster-fs';
import { expect, test } from 'vitest';
import { serve, start } from './cli-process.ts';

const MiB = 2 ** 20;
const fileBytes = 640 * MiB;
/** A node process that does nothing has about 60 MiB of its own. */
const mostBytes = 200 * MiB;

/** Memory of the process itself, without the segment that it maps. */
function ownBytes(pid: number): number {
  const [, kibibytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kibibytes) * 1024;
}

test('a large file passes through dump and load in memory that does not grow with it', async () => {
  const node = await serve(['--memory', '1400MiB']);
  const fs = await mount(node.url);
  const piece = Buffer.alloc(4 * MiB, 'piece');
  const pieces = function* (): Generator<Buffer> {
    for (let at = 0; at < fileBytes; at += piece.length) yield piece;
  };
  await fs.replace('/large', pieces());
  const dump = start(['dump', '-', '--url', node.url]);
  const load = start(['load', '-', '--into', '/copy', '--url', node.url]);
  // What start() gathers of stdout would be the whole dump.
  dump.process.stdout?.removeAllListeners('data');
  let [most, passed] = [0, 0];
  // As bytes: cli-process has set an encoding.
  dump.process.stdout?.setEncoding('latin1');
  for await (const text of dump.process.stdout ?? []) {
    const chunk = Buffer.from(String(text), 'latin1');
    passed += chunk.length;
    most = Math.max(most, ownBytes(dump.pid), ownBytes(load.pid));
    // The taker is the slower of the two.
    if (load.process.stdin?.write(chunk) === false) await once(load.process.stdin, 'drain');
  }
  load.process.stdin?.end();
  expect(await load.ended).toMatchObject({ code: 0, stderr: '' });
  expect(passed).toBeGreaterThan(fileBytes);
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(mostBytes);
  const [original, copy] = await Promise.all([fs.map('/large'), fs.map('/copy/large')]);
  expect(Buffer.compare(original.bytes, copy.bytes)).toBe(0);
  original.close();
  copy.close();
  expect(await fs.check()).toEqual([]);
  await fs.unmount();
  await node.stop();
}, 120_000);
