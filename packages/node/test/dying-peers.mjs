// Nodes that come to a listener to die there: `crowd` comes in every stage of the handshake, `one` is a link.
// It says when it is up, and waits for what happens to it. stdin: { port, security, clusterId, mode, count }.
import { connect as connectPlain } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { connectPeer } from '@cluster-fs/transport/peer';

const { port, security, clusterId, mode, count = 1 } = JSON.parse(await text(process.stdin));
const { ca, cert, key } = security;
const identity = { clusterId: Buffer.from(clusterId, 'hex'), nodeId: 2, name: 'b', incarnation: 1 };
const link = () => connectPeer({ host: '127.0.0.1', port, security, identity });

const heardOf = (socket, event) =>
  new Promise((resolve) => {
    socket.on('error', () => resolve());
    socket.once(event, () => resolve());
  });

const stages = [
  // Leaves at once.
  async () => {
    const socket = connectPlain({ port });
    await heardOf(socket, 'connect');
    socket.destroy();
  },
  // Says half a word, and no more.
  async () => {
    const socket = connectPlain({ port });
    await heardOf(socket, 'connect');
    socket.write(Buffer.from([22, 3, 1, 2]));
  },
  // Proves itself, and says nothing.
  async () =>
    heardOf(connectTls({ port, ca, cert, key, checkServerIdentity: () => undefined }), 'secureConnect'),
  // Is a node of the cluster.
  link,
];

const links =
  mode === 'one'
    ? [await link()]
    : await Promise.all(Array.from({ length: count }, (_, i) => stages[i % 4]()));
for (const each of links) each?.setHandlers({});
process.stdout.write('up\n');
// Until it is killed.
setInterval(() => undefined, 60_000);
