/** What two Node processes move through a bare TCP socket: the limit of everything between nodes. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { onEnd } from './cleanup.ts';
import { stopChild } from './processes.ts';

export class TcpPeer {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Bytes from the other end, in GB/s. */
  async receive(bytes: number): Promise<number> {
    const request = Buffer.alloc(4);
    request.writeUInt32LE(bytes);
    const started = performance.now();
    await this.#exchange(request, bytes);
    return bytes / (performance.now() - started) / 1e6;
  }

  /** There and back, in microseconds. */
  async pingPong(): Promise<number> {
    const message = Buffer.alloc(64, 1);
    const started = performance.now();
    await this.#exchange(message, message.length);
    return (performance.now() - started) * 1000;
  }

  #exchange(message: Buffer, bytes: number): Promise<void> {
    return new Promise((resolve) => {
      let left = bytes;
      const take = (data: Buffer): void => {
        left -= data.length;
        if (left > 0) return;
        this.#socket.off('data', take);
        resolve();
      };
      this.#socket.on('data', take);
      this.#socket.write(message);
    });
  }
}

export async function startTcpPeer(): Promise<TcpPeer> {
  const child = fork(fileURLToPath(new URL('../children/tcp-peer.mjs', import.meta.url)), { execArgv: [] });
  onEnd(() => stopChild(child));
  const [port] = (await once(child, 'message')) as [number];
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  onEnd(() => void socket.destroy());
  await once(socket, 'connect');
  return new TcpPeer(socket);
}
