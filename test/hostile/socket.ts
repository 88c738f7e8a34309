/** A socket that sends any bytes and waits for the peer's reaction. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface RawSocket {
  readonly socket: Socket;
  send(bytes: Uint8Array): void;
  /** Resolves when the other side has closed. */
  closed(): Promise<void>;
  close(): Promise<void>;
}

export async function connectRaw(path: string): Promise<RawSocket> {
  const socket = await connected(path);
  const end = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  // A node that hangs up on us while we still send is what many tests want.
  socket.on('error', () => socket.destroy());
  socket.resume();
  return {
    socket,
    send: (bytes) => void socket.write(bytes),
    closed: () => end,
    close: () => {
      socket.destroy();
      return end;
    },
  };
}

/** Tries again while the backlog of the node is full. */
async function connected(path: string): Promise<Socket> {
  for (;;) {
    const socket = connect(path);
    try {
      await once(socket, 'connect');
      return socket;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}
