/** `serve --publish DIR:/path`: directories that a node publishes. */
import { stat } from 'node:fs/promises';
import { basename, posix, resolve } from 'node:path';
import { type ClusterFs, FsError, mount } from 'cluster-fs';
import { InvalidArgumentError } from 'commander';
import type { ClusterNode } from '../node.ts';
import { type Loaded, Publisher } from '../publisher/publisher.ts';
import type { Log } from './log.ts';
import { showProgress } from './progress.ts';
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
      const { publisher, loaded } = await start(run, fs, { node, publication, settleMs, log });
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
    log,
  }: { node: ClusterNode; publication: Publication; settleMs: number; log: Log },
) {
  if (!(await stat(directory)).isDirectory()) throw new FsError('ENOTDIR', 'publish', { path: directory });
  const { hub } = node.coordinator;
  const progress = showProgress(out, { label: `publish ${basename(directory)}`, unit: 'bytes' });
  const onProblem = ({
    path: where,
    code,
    message,
  }: {
    path: string;
    code: string;
    message: string;
  }): void => {
    log.notice(`not published: ${message}`);
    hub.emit('publish', where, { error: code, message });
  };
  try {
    const started = await Publisher.start(
      { fs, directory, root: path, settleMs, onProblem },
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
  const paths = publications.map(({ path }) => path).sort();
  for (const [index, path] of paths.entries()) {
    const next = paths[index + 1];
    if (next === undefined) return;
    if (next === path || next.startsWith(path === '/' ? '/' : `${path}/`)) {
      throw new FsError('EINVAL', 'publish', {
        path: next,
        why: `it is published twice, also as part of ${path}`,
      });
    }
  }
}
