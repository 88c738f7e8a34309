/**
 * The line of line.ts, in a thread: the thread of a test sits in page faults that only what comes over the
 * line can end. When they do not end in time, it ends the process, which nothing else could.
 */
import { connect, createServer } from 'node:net';
import { Transform } from 'node:stream';
import { parentPort, workerData } from 'node:worker_threads';

const { toPort, limitMs } = workerData;
const host = '127.0.0.1';
let isCut = false;
let isMuted = false;
/** @type {Set<import('node:net').Socket>} */
const sockets = new Set();
/** What who connected has said, over one connection after the other. @type {Buffer[]} */
const said = [];

const server = createServer((near) => {
  if (isCut) {
    near.destroy();
    return;
  }
  const far = connect({ host, port: toPort, noDelay: true });
  pass(near, far, (chunk) => {
    said.push(chunk);
    return !isMuted;
  });
  pass(far, near, () => true);
});

/**
 * @param {import('node:net').Socket} from @param {import('node:net').Socket} to
 * @param {(chunk: Buffer) => boolean} arrives
 */
function pass(from, to, arrives) {
  sockets.add(from);
  from.setNoDelay(true);
  const filter = new Transform({
    transform: (chunk, _, done) => (arrives(chunk) ? done(null, chunk) : done()),
  });
  from.pipe(filter).pipe(to);
  from.on('error', () => undefined);
  from.once('close', () => {
    sockets.delete(from);
    to.destroy();
  });
}

AbortSignal.timeout(limitMs).addEventListener('abort', () => process.kill(process.pid, 'SIGKILL'));
parentPort?.on('message', (/** @type {'cut' | 'mend' | 'mute' | 'said'} */ what) => {
  if (what === 'said') {
    parentPort?.postMessage(Buffer.concat(said));
    return;
  }
  isCut = what === 'cut';
  isMuted = what === 'mute';
  if (isCut) for (const socket of sockets) socket.destroy();
  parentPort?.postMessage(what);
});
server.listen(0, host, () => {
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());
  parentPort?.postMessage(address.port);
});
