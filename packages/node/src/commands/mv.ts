import { posix } from 'node:path';
import type { Command } from 'commander';
import { clusterPath, destinationOf } from './paths.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addMv(program: Command, host: Host): void {
  nodeVerb(program, 'mv', {
    summary: 'rename a file or directory',
    description:
      'In one step, replacing a file that has the new name. Its memory stays where it is; see move.',
    examples: ['clusterfs mv /models/new.bin /models/current.bin', 'clusterfs mv /a /archive/'],
  })
    .argument('<from>')
    .argument('<to>', 'the new name, or a directory to go into')
    .action(
      withMount(host, async ({ fs, out }, _: object, from: string, to: string) => {
        const source = clusterPath(from);
        const target = destinationOf(fs, to, posix.basename(source));
        await fs.promises.rename(source, target);
        out.result({ from: source, to: target });
      }),
    );
}
