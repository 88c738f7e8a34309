/** Steps on a node whose disk is recorded; and cuts of that record, each judged by the model. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runDirectory } from 'cluster-fs';
import { onTestFinished } from 'vitest';
import { mountForTest, startNodeProcess } from '../chaos/node-process.ts';
import type { CutStep } from './cut-steps.ts';
import { type Choice, Disk, writeImage } from './disk.ts';
import { History } from './durable-model.ts';
import { never } from './power.ts';
import { type Call, startRecorder } from './recorder.ts';
import { type Reopened, reopen } from './reopen.ts';

export interface Recorded {
  /** The directory of the store. */
  readonly store: string;
  readonly calls: readonly Call[];
  readonly history: History;
}

/** Does the steps, one after the other, on a node of their own. */
export async function record(
  steps: readonly CutStep[],
  { writeBackMs = never }: { writeBackMs?: number } = {},
): Promise<Recorded> {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  const recorder = startRecorder(store);
  onTestFinished(() => {
    recorder.close();
    rmSync(store, { recursive: true, force: true });
  });
  const { env } = recorder;
  const options = { store, writeBackMs, memory: 2 ** 22, inodeCount: 64, runDirectory: runDirectory(store) };
  const node = await startNodeProcess({ ...options, env });
  const history = new History();
  let fs = await mountForTest(node);
  for (const { name, run, model, synced, ends } of steps) {
    const begun = recorder.position();
    await run(fs, node);
    if (ends !== undefined) {
      await fs.unmount();
      if (ends === 'power lost') rmSync(node.runDirectory, { recursive: true });
      await node.start();
      fs = await mountForTest(node);
    }
    const step = { name, begun, answered: recorder.position() };
    if (ends === 'power lost') history.lose(step);
    else history.step(step, model ?? (() => undefined), ends === 'stopped' ? 'all' : synced);
  }
  await fs.unmount();
  await node.kill();
  if (node.errors.length > 0) throw new Error(node.errors.join('\n'));
  return { store, calls: recorder.calls(), history };
}

export interface Cuts {
  /** Losses of power that were judged. */
  readonly count: number;
  /** Different disks among them. */
  readonly images: number;
  readonly findings: readonly string[];
}

/** Findings more than these are more of the same. */
const enough = 5;

/**
 * Less than a disk writes at once: a cut behind it is one before, or one behind what follows. SQLite writes a
 * frame of its log as a header and a page.
 */
const sector = 512;
export const isCut = ({ kind, data }: Call): boolean => kind !== 'write' || data.length >= sector;

/** Cuts the power after each call of a record, and lets the disk lose what each choice says. */
export async function cutEverywhere(
  { store, calls, history }: Recorded,
  choices: Readonly<Record<string, Choice>>,
  where: (call: Call) => boolean = isCut,
): Promise<Cuts> {
  const home = mkdtempSync('/dev/shm/clusterfs-cut-');
  const disk = new Disk(store);
  const seen = new Map<string, Reopened | string>();
  const findings: string[] = [];
  let count = 0;
  try {
    for (const [i, call] of calls.entries()) {
      disk.apply(call);
      if (!where(call)) continue;
      for (const [what, choice] of Object.entries(choices)) {
        const image = disk.image(choice);
        let reopened = seen.get(image.key);
        if (reopened === undefined) {
          const directory = join(home, String(seen.size));
          writeImage(directory, image);
          reopened = await reopen(directory).catch((error: unknown) => String(error));
          rmSync(directory, { recursive: true, force: true });
          seen.set(image.key, reopened);
        }
        count++;
        const wrong = verdict(reopened, history, call.end);
        if (wrong === undefined) continue;
        findings.push(`cut after call ${i} (${call.kind} ${call.path}), ${what} kept: ${wrong}`);
        if (findings.length >= enough) return { count, images: seen.size, findings };
      }
    }
    return { count, images: seen.size, findings };
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

function verdict(reopened: Reopened | string, history: History, cut: number): string | undefined {
  if (typeof reopened === 'string') return reopened;
  const { found, findings } = reopened;
  return findings.length > 0 ? findings.join('; ') : history.judge(found, cut);
}
