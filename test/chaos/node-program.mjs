/** A node in a process of its own: options as JSON in argv, then `ready` or `refused` as a message. */
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { nodeModule } from '../setups/node-modules.mjs';

/** @type {typeof import('@cluster-fs/node')} */
const { joinNode, startNode } = await import(nodeModule(process.execArgv));

const {
  peerPort,
  joinPort,
  peerHost: host = '127.0.0.1',
  ownHost = host,
  token,
  name,
  ...options
} = JSON.parse(process.argv[2] ?? '{}');
const security = token === undefined ? { kind: 'none' } : { kind: 'token', token };

/** On a port for other nodes, or with the files of the node there, or alone. */
async function start() {
  const common = {
    ...options,
    onError: (/** @type {unknown} */ error) => tell('error', error),
    onNotice: (/** @type {string} */ text) => tell('notice', text),
  };
  if (peerPort === undefined && joinPort === undefined) return startNode(common);
  const isMember = joinPort !== undefined;
  const cluster = { security, name: name ?? (isMember ? 'member' : 'home') };
  const keeps = peerPort !== undefined;
  const join = { host, port: joinPort };
  const node = isMember
    ? await joinNode({ ...common, cluster, keeps, join })
    : startNode({ ...common, cluster });
  if (peerPort !== undefined) await node.listen({ host: ownHost, port: peerPort });
  return node;
}

/** @param {string} kind @param {unknown} detail */
function tell(kind, detail) {
  const { code, message, stack } = /** @type {NodeJS.ErrnoException} */ (Object(detail));
  process.send?.({ kind, code, text: stack ?? message ?? String(detail) });
}

/** Whoever ran the tests is gone, and cannot clean up any more. */
function orphaned() {
  for (const path of [options.runDirectory, dirname(options.socketPath)]) {
    rmSync(path, { recursive: true, force: true });
  }
  process.kill(process.pid, 'SIGKILL');
}

try {
  const node = await start();
  process.on('disconnect', orphaned);
  process.on('message', () => {
    process.off('disconnect', orphaned);
    void node.stop().then(() => process.disconnect());
  });
  process.send?.({ kind: 'ready', recovered: node.recovered });
} catch (error) {
  tell('refused', error);
  process.disconnect();
}
