import type { Command } from 'commander';
import { clusterPath } from './paths.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addMkdir(program: Command, host: Host): void {
  nodeVerb(program, 'mkdir', {
    summary: 'make directories',
    examples: ['clusterfs mkdir /models', 'clusterfs mkdir -p /data/2026/01'],
  })
    .argument('<paths...>')
    .option('-p, --parents', 'also the missing ones above; one that is there is fine')
    .action(
      withMount(host, async ({ fs, out }, { parents }: { parents?: true }, paths: readonly string[]) => {
        const made: string[] = [];
        for (const path of paths.map(clusterPath)) {
          const first = await fs.promises.mkdir(path, { recursive: parents === true });
          if (parents !== true || first !== undefined) made.push(path);
        }
        out.result({ made });
      }),
    );
}
