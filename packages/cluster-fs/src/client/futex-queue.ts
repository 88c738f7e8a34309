/**
 * Waiting on words of shared memory without stopping the event loop.
 *
 * A futex wait blocks its thread, so one thread of its own waits on all words at once (futex_waitv(2)), and
 * on one more through which it hears of new waits. It is started with the first wait.
 */
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { FsError, native } from '@cluster-fs/transport';
import { pageSize } from '../segment/index.ts';

export interface FutexRequest {
  readonly address: number;
  readonly expected: number;
  readonly timeoutMs: number;
}

/** futex_waitv takes 128 words; one is ours. */
export const maxWaits = 127;

export type FutexMessage =
  | { readonly type: 'wait'; readonly id: number; readonly request: FutexRequest }
  | { readonly type: 'look-again' }
  | { readonly type: 'stop' };

export interface FutexAnswer {
  readonly id: number;
  readonly result: 'ok' | 'not-equal' | 'timed-out' | 'gone';
}

interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
  readonly control: Int32Array;
  readonly controlAddress: number;
}

export class FutexQueue {
  #thread: Thread | undefined;
  readonly #waits = new Map<
    number,
    { resolve(result: 'ok' | 'not-equal' | 'timed-out'): void; reject(error: FsError): void }
  >();
  #nextId = 1;

  wait(request: FutexRequest): Promise<'ok' | 'not-equal' | 'timed-out'> {
    if (this.#waits.size >= maxWaits) {
      return Promise.reject(
        new FsError('EAGAIN', 'futex', { why: `${maxWaits} waits are under way in this process` }),
      );
    }
    this.#thread ??= this.#start();
    const thread = this.#thread;
    const id = this.#nextId++;
    thread.worker.ref();
    return new Promise((resolve, reject) => {
      this.#waits.set(id, { resolve, reject });
      this.#post(thread, { type: 'wait', id, request });
    });
  }

  /** Pages were swapped: every wait must look at what is under its address now. */
  addressesMoved(): void {
    if (this.#thread !== undefined && this.#waits.size > 0) this.#post(this.#thread, { type: 'look-again' });
  }

  async close(): Promise<void> {
    const thread = this.#thread;
    if (thread === undefined) return;
    this.#thread = undefined;
    const exited = new Promise((resolve) => thread.worker.once('exit', resolve));
    thread.worker.ref();
    this.#post(thread, { type: 'stop' });
    await exited;
    for (const { reject } of this.#waits.values())
      reject(new FsError('ECANCELED', 'futex', { why: 'unmounted' }));
    this.#waits.clear();
    native.detachArrayBuffer(thread.control.buffer as ArrayBuffer);
    native.unmap(thread.controlAddress, pageSize);
  }

  #start(): Thread {
    const controlAddress = native.reserveAddressRange(pageSize);
    native.mapAnonymous({ address: controlAddress, length: pageSize, protection: 'read-write' });
    const { port1, port2 } = new MessageChannel();
    const worker = new Worker(new URL(import.meta.resolve('cluster-fs/futex-worker')), {
      workerData: { controlAddress, port: port2 },
      transferList: [port2],
      name: 'cluster-fs futex',
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 1 },
    });
    port1.on('message', (answer: FutexAnswer) => this.#onAnswer(answer));
    port1.unref();
    worker.unref();
    return {
      worker,
      port: port1,
      control: new Int32Array(native.arrayBufferAt(controlAddress, pageSize)),
      controlAddress,
    };
  }

  #post({ port, control, controlAddress }: Thread, message: FutexMessage): void {
    port.postMessage(message);
    // Pairs with the worker's load before it drains its port: it sees the message, or does not fall asleep.
    Atomics.add(control, 0, 1);
    native.wakeFutex(controlAddress, 1);
  }

  #onAnswer({ id, result }: FutexAnswer): void {
    const wait = this.#waits.get(id);
    this.#waits.delete(id);
    if (this.#waits.size === 0) this.#thread?.worker.unref();
    if (result === 'gone') wait?.reject(new FsError('EBADF', 'futex', { why: 'the view was closed' }));
    else wait?.resolve(result);
  }
}
