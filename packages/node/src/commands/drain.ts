import type { Command } from 'commander';
import { failures } from './placing.ts';
import { showProgress } from './progress.ts';
import { count, formatSize } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addDrain(program: Command, host: Host): void {
  nodeVerb(program, 'drain', {
    summary: 'move all files of a node of the cluster to others',
    description:
      'To those that have the most room, under everybody who uses them; before its host is taken away. A ' +
      'node that is stopped with Ctrl-C does the same by itself. What cannot be moved stays, and is told: ' +
      'then the exit status is 1. The coordinator keeps all names whatever it keeps of the files.',
    examples: ['clusterfs drain host-b'],
  })
    .argument('<node>')
    .action(
      withMount(host, async ({ fs, out, signal }, _: object, node: string) => {
        const progress = showProgress(out, { label: `drain ${node}`, unit: 'bytes' });
        const drained = await fs.drain(node, { signal, onProgress: progress.update }).finally(progress.stop);
        out.result({ node, ...drained });
        out.say(`moved ${count(drained.files, 'file')} of ${node}, ${formatSize(drained.bytes)}`);
        failures(out, drained.failed);
      }),
    );
}
