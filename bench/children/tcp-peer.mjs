// The other end of a bare TCP connection: sends as many bytes as it is asked for, four bytes of length.
import { createServer } from 'node:net';

const chunk = Buffer.alloc(65_536, 1);
const requestBytes = 4;

const sockets = new Set();

const server = createServer({ noDelay: true }, (socket) => {
  sockets.add(socket);
  socket.on('data', (data) => {
    if (data.length !== requestBytes) throw new Error(`a request of ${data.length} bytes`);
    send(socket, data.readUInt32LE());
  });
  socket.on('error', () => undefined);
});

function send(socket, bytes) {
  let left = bytes;
  const go = () => {
    while (left > 0) {
      const part = chunk.subarray(0, Math.min(left, chunk.length));
      left -= part.length;
      if (!socket.write(part)) {
        socket.once('drain', go);
        return;
      }
    }
  };
  go();
}

server.listen(0, '127.0.0.1', () => process.send(server.address().port));
process.on('disconnect', () => {
  server.close();
  for (const socket of sockets) socket.destroy();
});
