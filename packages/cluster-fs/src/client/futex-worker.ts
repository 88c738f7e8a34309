/** The thread that waits on futexes: see futex-queue.ts. It blocks for good reason, and does nothing else. */
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { FsError, native } from '@cluster-fs/transport';
import { pageSize } from '../segment/layout.ts';
import type { FutexAnswer, FutexMessage, FutexRequest } from './futex-queue.ts';

const { controlAddress, port } = workerData as { controlAddress: number; port: MessagePort };
const control = new Int32Array(native.arrayBufferAt(controlAddress, pageSize));

interface Wait extends FutexRequest {
  readonly id: number;
  readonly deadlineMs: number;
  /** It slept at least once: a word that changed since then was changed under it, and counts as woken. */
  slept: boolean;
}

const waits = new Map<number, Wait>();
/** So that a lost wake-up costs a second and not for ever. */
const longestSleepMs = 1000;

function settle(wait: Wait, result: FutexAnswer['result']): void {
  waits.delete(wait.id);
  port.postMessage({ id: wait.id, result } satisfies FutexAnswer);
}

/** Takes in what was posted; false when it is time to stop. */
function drain(): boolean {
  for (let got = receiveMessageOnPort(port); got !== undefined; got = receiveMessageOnPort(port)) {
    const message = got.message as FutexMessage;
    if (message.type === 'stop') return false;
    if (message.type === 'wait') {
      const { id, request } = message;
      waits.set(id, { id, ...request, deadlineMs: performance.now() + request.timeoutMs, slept: false });
    }
  }
  return true;
}

/**
 * Settles what is settled by looking: words that are another already, times that are over, pages that are
 * gone.
 */
function look(): void {
  for (const wait of waits.values()) {
    try {
      const now = native.waitFutex(wait.address, wait.expected, 0);
      if (now === 'not-equal') settle(wait, wait.slept ? 'ok' : 'not-equal');
      else if (performance.now() >= wait.deadlineMs) settle(wait, 'timed-out');
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      settle(wait, 'gone');
    }
  }
}

function sleep(posted: number): void {
  const sleeping = [...waits.values()];
  const until = Math.min(
    longestSleepMs,
    ...sleeping.map((w) => Math.max(0, w.deadlineMs - performance.now())),
  );
  for (const wait of sleeping) wait.slept = true;
  const words = [{ address: controlAddress, expected: posted }, ...sleeping];
  const woken = native.waitFutexAny(words, Math.ceil(until));
  const wait = typeof woken === 'number' ? sleeping[woken - 1] : undefined;
  if (wait !== undefined) settle(wait, 'ok');
}

for (;;) {
  const posted = Atomics.load(control, 0);
  if (!drain()) break;
  look();
  sleep(posted);
}
port.close();
