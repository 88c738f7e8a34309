import type { Command } from 'commander';
import { clusterPath } from './paths.ts';
import { formatSize } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addEvict(program: Command, host: Host): void {
  nodeVerb(program, 'evict', {
    summary: 'take a file out of memory; it stays in the store',
    description:
      'What changed is written to the store first. A touch brings pages back. What is pinned stays, and ' +
      'what clients map that cannot wait for pages. A node with a store does this by itself when its ' +
      'memory is full.',
    examples: ['clusterfs evict /models/old.bin'],
  })
    .argument('<path>')
    .action(
      withMount(host, async ({ fs, out }, _: object, path: string) => {
        const name = clusterPath(path);
        const bytes = await fs.evict(name);
        out.result({ path: name, evictedBytes: bytes });
        out.say(
          bytes > 0
            ? `evicted ${formatSize(bytes)} of ${name}`
            : `nothing of ${name} is in memory that could leave it`,
        );
      }),
    );
}
