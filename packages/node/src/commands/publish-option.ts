/** `serve --publish DIR:/path`: directories that a node publishes. */
import { stat } from 'node:fs/promises';
import { basename, dirname, join, posix, resolve } from 'node:path';
import { FsError } from '@cluster-fs/transport';
import type { ClusterFs } from 'cluster-fs';
import { InvalidArgumentError } from 'commander';
import type { ClusterNode } from '../node.ts';
import type { Ledger } from '../publisher/ledger.ts';
import type { Loaded, Problem, Publisher } from '../publisher/publisher.ts';
import type { Log } from './log.ts';
import type { Run } from './verb.ts';

export interface Publication {
  readonly directory: string;
  readonly path: string;
}

/** `DIR:/path`; the last colon before a slash divides, directories may have some too. */
export function parsePublication(text: string): Publication {
  const [, directory, path] = /^(.+):(\/.*)$/.exec(text) ?? [];
  if (directory === undefined || path === undefined) throw new InvalidArgumentError('Give DIR:/path.');
  return { directory: resolve(directory), path: posix.resolve(path) };
}

export interface Published extends Publication, Loaded {}

export interface Publishing {
  readonly published: readonly Published[];
  stop(): Promise<void>;
}

/**
 * Publishes directories by a session of the node's own, and follows them. What fails later is told by the
 * log, and by `publish` events.
 */
export async function startPublishing(
  run: Run,
  node: ClusterNode,
  { publications, settleMs, log }: { publications: readonly Publication[]; settleMs: number; log: Log },
): Promise<Publishing> {
  if (publications.length === 0) return { published: [], stop: async () => undefined };
  assertApart(publications);
  // Who publishes nothing starts without all that.
  const [{ mount }, { Ledger }] = await Promise.all([import('cluster-fs'), import('../publisher/ledger.ts')]);
  const { writeBack, data } = node.coordinator;
  const ledger = new Ledger(join(dirname(writeBack?.report.path ?? data.path), 'published'));
  const fs = await mount(`unix:${node.socketPath}`, { label: 'publisher of the node' });
  fs.once('lost', (error) => log.error('publishing has ended', error));
  const publishers: Publisher[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(publishers.map((publisher) => publisher.close()));
    await fs.unmount();
  };
  try {
    const published: Published[] = [];
    for (const publication of publications) {
      const { publisher, loaded } = await start(run, fs, { node, publication, settleMs, ledger, log });
      publishers.push(publisher);
      published.push({ ...publication, ...loaded });
    }
    return { published, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(
  { out, signal }: Run,
  fs: ClusterFs,
  {
    node,
    publication: { directory, path },
    settleMs,
    ledger,
    log,
  }: { node: ClusterNode; publication: Publication; settleMs: number; ledger: Ledger; log: Log },
) {
  if (!(await stat(directory)).isDirectory()) throw new FsError('ENOTDIR', 'publish', { path: directory });
  const { hub } = node.coordinator;
  const { showProgress } = await import('./progress.ts');
  const progress = showProgress(out, { label: `publish ${basename(directory)}`, unit: 'bytes' });
  const onProblem = (problem: Problem): void => {
    log.notice(`publish: ${problem.message}`);
    hub.emit('publish', problem.path, { error: problem.code, message: problem.message });
  };
  try {
    const { Publisher } = await import('../publisher/publisher.ts');
    const started = await Publisher.start(
      { fs, directory, root: path, settleMs, ledger, onProblem },
      {
        signal,
        onProgress: (p) => progress.update(p.bytes, p.totalBytes, `${p.files} of ${p.totalFiles} files`),
      },
    );
    hub.emit('publish', path, { files: started.loaded.files, bytes: started.loaded.bytes });
    return started;
  } finally {
    progress.stop();
  }
}

/** Two directories cannot both be what is below one path. */
function assertApart(publications: readonly Publication[]): void {
  for (const [index, { path }] of publications.entries()) {
    for (const other of publications.filter((_, at) => at !== index)) {
      const isBelow = other.path === path || other.path.startsWith(path === '/' ? '/' : `${path}/`);
      if (!isBelow) continue;
      const why = `it is published twice, also as part of ${path}`;
      throw new FsError('EINVAL', 'publish', { path: other.path, why });
    }
  }
}
