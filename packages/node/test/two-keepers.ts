/** A coordinator and a node that keeps files, in this process, with a line between them. */
import { join } from 'node:path';
import { parsePeerUrl } from '@cluster-fs/transport/peer';
import { mount } from 'cluster-fs';
import { onTestFinished } from 'vitest';
import { startLine } from '../../../test/cluster/line.ts';
import { joinNode, startNode } from '../src/cluster/start.ts';
import type { ClusterNode } from '../src/node.ts';
import { makeHome } from './cli-process.ts';

export const timeout = 60_000;
const local = { host: '127.0.0.1', port: 0 };
const common = (name: string, memory: number) => ({
  socketPath: join(makeHome(), 'node.sock'),
  memory,
  cluster: { name, security: { kind: 'none' } as const },
});

async function mounted({ socketPath }: ClusterNode) {
  const fs = await mount(`unix:${socketPath}`);
  onTestFinished(() => fs.unmount());
  return fs;
}

/** A coordinator, and a node that keeps files: its way there can be cut, and the other one stays. */
export async function startTwo({ memory = 2 ** 22, inodeCount = 64 } = {}) {
  const a = startNode({ ...common('a', memory), inodeCount });
  onTestFinished(() => a.stop());
  const { port } = parsePeerUrl(await a.listen(local));
  const line = await startLine(port, { limitMs: timeout });
  const b = await joinNode({ ...common('b', memory), keeps: true, join: { ...local, port: line.port } });
  onTestFinished(() => b.stop());
  await b.listen(local);
  return { a, b, line, atA: await mounted(a), atB: await mounted(b) };
}
