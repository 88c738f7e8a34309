/** A node on a recorded disk, and what a loss of power leaves of that at least: what was flushed. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished } from 'vitest';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { Disk, writeImage } from './disk.ts';
import type { Found } from './durable-model.ts';
import { never } from './power.ts';
import { type Recorder, startRecorder } from './recorder.ts';
import { reopen } from './reopen.ts';

export interface RecordedNode {
  readonly fs: ClusterFs;
  readonly node: NodeProcess;
  readonly recorder: Recorder;
  /** What is left when power is lost now, or was at a `position` of the recorder. */
  lost(position?: number): Promise<Found>;
}

/** `flushMs`: how much longer each flush takes. */
export async function startRecorded({ flushMs = 0 }: { flushMs?: number } = {}): Promise<RecordedNode> {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  const recorder = startRecorder(store, { flushMs });
  onTestFinished(() => {
    recorder.close();
    rmSync(store, { recursive: true, force: true });
  });
  const options = { store, writeBackMs: never, memory: 2 ** 22, inodeCount: 64 };
  const node = await startNodeProcess({ ...options, env: recorder.env });
  const fs = await mountForTest(node);
  const lost = async (position = Number.POSITIVE_INFINITY): Promise<Found> => {
    const disk = new Disk(store);
    for (const call of recorder.calls()) if (call.end <= position) disk.apply(call);
    const home = mkdtempSync('/dev/shm/clusterfs-lost-');
    try {
      writeImage(
        join(home, 'store'),
        disk.image((groups) => groups.map(() => 0)),
      );
      const { found, findings } = await reopen(join(home, 'store'));
      expect(findings).toEqual([]);
      return found;
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  };
  return { fs, node, recorder, lost };
}
