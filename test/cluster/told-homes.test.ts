/**
 * A move between homes is on the coordinator's disk before anybody hears of it: the home until then forgets
 * the file, and a coordinator that came back with less would give it away.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, type NodeOptions, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { Disk, writeImage } from '../durability/disk.ts';
import { never } from '../durability/power.ts';
import { startRecorder } from '../durability/recorder.ts';
import { freePort } from './line.ts';

const MiB = 2 ** 20;
const timeout = 60_000;

function temporaryStore(): string {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  return store;
}

/** A coordinator on a recorded disk, and two nodes that keep files. */
async function startThree() {
  const [joinPort, ...ports] = [await freePort(), await freePort(), await freePort()];
  const store = temporaryStore();
  const recorder = startRecorder(store);
  onTestFinished(() => recorder.close());
  const common: NodeOptions = { memory: 16 * MiB, capacity: 64 * MiB, writeBackMs: never };
  const a = await startNodeProcess({
    ...{ ...common, store, peerPort: joinPort, name: 'a' },
    env: recorder.env,
  });
  const startKeeper = (name: string, peerPort: number | undefined): Promise<NodeProcess> =>
    startNodeProcess({ ...common, store: temporaryStore(), peerPort: peerPort ?? 0, joinPort, name });
  const b = await startKeeper('b', ports[0]);
  const c = await startKeeper('c', ports[1]);
  return { a, b, c, store, recorder };
}

test('a file that moved between two others is there when the coordinator loses its power', {
  timeout,
}, async () => {
  const { a, b, c, store, recorder } = await startThree();
  const atA = await mountForTest(a);
  const content = Buffer.alloc(300_000, 'moved');
  await atA.promises.writeFile('/f', content);
  await atA.migrate('/f', 'c');
  await atA.sync();
  await atA.migrate('/f', 'b');
  const position = recorder.position();
  await a.kill();
  // Only what was flushed until the move was answered.
  const disk = new Disk(store);
  for (const call of recorder.calls()) if (call.end <= position) disk.apply(call);
  const left = temporaryStore();
  writeImage(
    left,
    disk.image((groups) => groups.map(() => 0)),
  );
  rmSync(a.runDirectory, { recursive: true });
  rmSync(store, { recursive: true });
  cpSync(left, store, { recursive: true });
  await a.start();
  for (const node of [a, b, c]) {
    const fs = await mountForTest(node);
    expect((await fs.promises.readFile('/f')).equals(content)).toBe(true);
  }
});
