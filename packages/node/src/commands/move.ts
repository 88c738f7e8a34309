import type { Command } from 'commander';
import { clusterPath } from './paths.ts';
import { showProgress } from './progress.ts';
import { count, formatDuration, formatSize } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addMove(program: Command, host: Host): void {
  nodeVerb(program, 'move', {
    summary: 'move the memory of a file while it is in use',
    description:
      'To one new run of pages of the segment. Views keep their address and their content; writers go ' +
      'on. The ' +
      'name of the file stays, see mv. Ctrl-C stops between two pieces: what has moved has moved.',
    examples: ['clusterfs move /models/model.bin'],
  })
    .argument('<path>')
    .action(
      withMount(host, async ({ fs, out, signal }, _: object, path: string) => {
        const name = clusterPath(path);
        const progress = showProgress(out, { label: `move ${name}`, unit: 'pages' });
        const moved = await fs.move(name, { signal, onProgress: progress.update }).finally(progress.stop);
        out.result({ path: name, ...moved });
        const { before, after, bytesCopied, elapsedMs } = moved;
        out.say(
          `moved ${name}: ${count(before, 'extent')} before, ${after} after; ` +
            `${formatSize(bytesCopied)} copied in ${formatDuration(elapsedMs)}`,
        );
      }),
    );
}
