import { FsError } from '@cluster-fs/transport';
import type { Command } from 'commander';
import { clusterPath } from './paths.ts';
import { count } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addSync(program: Command, host: Host): void {
  nodeVerb(program, 'sync', {
    summary: 'bring what changed to the store, so that it survives a loss of power',
    description:
      'One file, or everything; with it every change of names and attributes that was made before. A node ' +
      'with a store (serve --store) does so by itself some seconds after each change; without one there is ' +
      'nothing that outlives memory, and this fails.',
    examples: ['clusterfs sync', 'clusterfs sync /models/model.bin'],
  })
    .argument('[path]')
    .action(
      withMount(host, async ({ fs, out }, _: object, path: string | undefined) => {
        const name = path === undefined ? undefined : clusterPath(path);
        const { durable, pages } = await fs.sync(name);
        if (!durable) throw noStore(name);
        out.result({ path: name ?? null, durable, pages });
        out.say(`${name ?? 'everything'} is in the store; ${count(pages, 'page')} written`);
      }),
    );
}

const noStore = (path: string | undefined): FsError =>
  new FsError('ENOTSUP', 'sync', { path, why: 'the node has no store: files live in memory only' });
