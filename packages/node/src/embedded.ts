/** A node in a worker thread, for `mount(directory)`: started by the client library, stopped by a message. */
import { parentPort, workerData } from 'node:worker_threads';
import { assert, FsError } from '@cluster-fs/transport';
import { type EmbeddedOptions, runDirectory, socketFor } from 'cluster-fs';
import { startNode } from './node.ts';

const { directory, memory = 256 * 2 ** 20, ...policy } = workerData as EmbeddedOptions;
assert(parentPort !== null, 'embedded runs in a worker');
const port = parentPort;

try {
  const node = startNode({
    socketPath: socketFor(directory),
    runDirectory: runDirectory(directory),
    memory,
    ...policy,
    onError: (error) => process.emitWarning(error instanceof Error ? error : String(error)),
  });
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
  if (!(error instanceof FsError) || error.code !== 'EADDRINUSE') throw error;
  port.postMessage('taken');
  port.close();
}
