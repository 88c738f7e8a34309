/** What two Node processes move through a bare TCP socket: the limit of everything between nodes. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { onEnd } from './cleanup.ts';
import { stopChild } from './processes.ts';

export class TcpPeer {
  #socket: Socket | undefined;
  #take: (chunk: Buffer) => void = () => undefined;

  /** Read as nodes read: into one buffer, again and again. */
  async connect(port: number): Promise<void> {
    const buffer = Buffer.allocUnsafeSlow(256 * 1024);
    const onread = {
      buffer,
      callback: (bytes: number): boolean => {
        this.#take(buffer.subarray(0, bytes));
        return true;
      },
    };
    this.#socket = connect({ host: '127.0.0.1', port, noDelay: true, onread });
    onEnd(() => void this.#socket?.destroy());
    await once(this.#socket, 'connect');
  }

  /** Bytes from the other end, which sends 64 KiB at a time, in GB/s. `put`: what becomes of each chunk. */
  async receive(bytes: number, put?: (chunk: Buffer, at: number) => void): Promise<number> {
    const started = performance.now();
    await this.#ask(bytes, put);
    return bytes / (performance.now() - started) / 1e6;
  }

  /** A request there, and so many bytes back, in microseconds. */
  async pingPong(bytes: number): Promise<number> {
    const started = performance.now();
    await this.#ask(bytes);
    return (performance.now() - started) * 1000;
  }

  #ask(bytes: number, put?: (chunk: Buffer, at: number) => void): Promise<void> {
    const request = Buffer.alloc(4);
    request.writeUInt32LE(bytes);
    return new Promise((resolve) => {
      let taken = 0;
      this.#take = (chunk) => {
        put?.(chunk, taken);
        taken += chunk.length;
        if (taken === bytes) resolve();
      };
      this.#socket?.write(request);
    });
  }
}

export async function startTcpPeer(): Promise<TcpPeer> {
  const child = fork(fileURLToPath(new URL('../children/tcp-peer.mjs', import.meta.url)), { execArgv: [] });
  onEnd(() => stopChild(child));
  const [port] = (await once(child, 'message')) as [number];
  const peer = new TcpPeer();
  await peer.connect(port);
  return peer;
}
