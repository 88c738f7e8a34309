/** A line between two nodes that a test can cut and mend. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { Worker } from 'node:worker_threads';
import { onTestFinished } from 'vitest';

export interface Line {
  /** Where one end connects; what it says comes out at the other. */
  readonly port: number;
  /** Ends all connections, and takes no new ones. */
  cut(): Promise<void>;
  mend(): Promise<void>;
  /** Until it is mended nothing arrives of what who connects says. */
  mute(): Promise<void>;
  /** All that came from who connected. */
  said(): Promise<Buffer>;
}

/** The test process ends when the test takes longer than `limitMs`: it may sit in a page fault. */
export async function startLine(toPort: number, { limitMs }: { limitMs: number }): Promise<Line> {
  const worker = new Worker(new URL('line-worker.mjs', import.meta.url), {
    workerData: { toPort, limitMs },
    execArgv: [],
  });
  onTestFinished(async () => void (await worker.terminate()));
  const [port] = (await once(worker, 'message')) as [number];
  const tell = async (what: 'cut' | 'mend' | 'mute' | 'said'): Promise<unknown> => {
    const done = once(worker, 'message');
    worker.postMessage(what);
    return (await done)[0];
  };
  return {
    port,
    cut: async () => void (await tell('cut')),
    mend: async () => void (await tell('mend')),
    mute: async () => void (await tell('mute')),
    said: async () => Buffer.from((await tell('said')) as Uint8Array),
  };
}

/** A port that nobody listens on just now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
