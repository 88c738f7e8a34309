/**
 * A node in a worker thread, for `mount(directory)` and `mount('tcp://...')`: started by the client library,
 * stopped by a message.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { assert, FsError } from '@cluster-fs/transport';
import type { PeerSecurity } from '@cluster-fs/transport/peer';
import { type EmbeddedOptions, type JoinProof, runDirectory, socketFor } from 'cluster-fs';
import { removeAbandoned } from './claim.ts';
import { joinNode, startNode } from './cluster/start.ts';
import type { ClusterNode } from './node.ts';

const { directory, join, memory = 256 * 2 ** 20, ...policy } = workerData as EmbeddedOptions;
assert(parentPort !== null, 'embedded runs in a worker');
const port = parentPort;

const common = {
  socketPath: socketFor(directory),
  runDirectory: runDirectory(directory),
  memory,
  ...policy,
  onError: (error: unknown) => process.emitWarning(error instanceof Error ? error : String(error)),
};

async function start(): Promise<ClusterNode> {
  if (join === undefined) return startNode(common);
  removeAbandoned();
  const { host, port: number, name } = join;
  const cluster = { security: securityOf(join), ...(name === undefined ? {} : { name }) };
  return joinNode({ ...common, cluster, join: { host, port: number } });
}

function securityOf({ token, certificate }: JoinProof): PeerSecurity {
  if (certificate !== undefined) return { kind: 'tls', ...certificate };
  return token === undefined ? { kind: 'none' } : { kind: 'token', token };
}

try {
  const node = await start();
  port.on('message', () => {
    node.stop().then(
      () => port.close(),
      (error: unknown) => {
        throw error;
      },
    );
  });
  port.postMessage('ready');
} catch (error) {
  if (!(error instanceof FsError)) throw error;
  const { code, syscall, path, dest, why } = error;
  port.postMessage(code === 'EADDRINUSE' ? 'taken' : { code, syscall, path, dest, why });
  port.close();
}
