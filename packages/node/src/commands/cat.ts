import type { Command } from 'commander';
import { clusterPath } from './paths.ts';
import { snapshotChunks } from './snapshot.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addCat(program: Command, host: Host): void {
  nodeVerb(program, 'cat', {
    summary: 'write files to stdout',
    description: 'Each file is written as it was when its turn came, also when it is replaced meanwhile.',
    examples: ['clusterfs cat /models/config.json', 'clusterfs cat /logs/today | tail'],
  })
    .argument('<paths...>')
    .action(
      withMount(host, async ({ fs, out, signal }, _: object, paths: readonly string[]) => {
        const all: { path: string; base64: string }[] = [];
        for (const path of paths.map(clusterPath)) {
          const chunks: Buffer[] = [];
          for await (const chunk of snapshotChunks(fs, path, signal)) {
            if (out.json) chunks.push(chunk);
            else await out.write(chunk);
          }
          if (out.json) all.push({ path, base64: Buffer.concat(chunks).toString('base64') });
        }
        out.result(all);
      }),
    );
}
