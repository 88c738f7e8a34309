/** Starting the session worker: resolves with its first word, which is what the node answered to `hello`. */
import { Worker } from 'node:worker_threads';
import { layoutHash } from '../segment/index.ts';
import { flag, fromPlain, type SessionFacts, type ToMain, type WorkerOptions } from './worker-protocol.ts';

/** @throws FsError what the node, or the way to it, refused the session with */
export async function startWorker(
  options: Omit<WorkerOptions, 'layoutHash' | 'flags'>,
): Promise<{ readonly worker: Worker; readonly facts: SessionFacts; readonly flags: Int32Array }> {
  const flags = new SharedArrayBuffer(flag.length * 4);
  const data: WorkerOptions = { ...options, layoutHash, flags };
  const worker = new Worker(new URL(import.meta.resolve('cluster-fs/session-worker')), {
    workerData: data,
    name: 'cluster-fs session',
    stdout: false,
    stderr: false,
    execArgv: [],
    // The worker holds some maps of small objects: it must not cost what a default heap may grow to.
    resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 1 },
  });
  const facts = await new Promise<SessionFacts>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (message: ToMain) => {
      worker.off('error', reject);
      if (message.type === 'open') resolve(message.facts);
      else
        reject(
          message.type === 'refused' ? fromPlain(message.error) : new Error(`unexpected ${message.type}`),
        );
    });
  }).catch(async (error: unknown) => {
    await worker.terminate();
    throw error;
  });
  return { worker, facts, flags: new Int32Array(flags) };
}
