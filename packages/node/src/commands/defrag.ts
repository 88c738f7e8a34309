import type { Command } from 'commander';
import { showProgress } from './progress.ts';
import { count, formatDuration, formatSize } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addDefrag(program: Command, host: Host): void {
  nodeVerb(program, 'defrag', {
    summary: 'pack the segment while it is in use',
    description:
      'Every file becomes one extent and free memory one run, as far as space allows. Views keep their ' +
      'addresses. ' +
      'Ctrl-C stops between two pieces; what is packed stays packed.',
    examples: ['clusterfs defrag'],
  }).action(
    withMount(host, async ({ fs, out, signal }) => {
      const progress = showProgress(out, { label: 'defrag', unit: 'pages' });
      const done = await fs.defrag({ signal, onProgress: progress.update }).finally(progress.stop);
      out.result(done);
      const { files, moved, pages, fragmented, freeRuns, elapsedMs } = done;
      out.say(
        `moved ${moved} of ${count(files, 'file')}, ${formatSize(pages * 4096)}, ` +
          `in ${formatDuration(elapsedMs)}; ` +
          `${count(fragmented, 'file')} in more than one extent, free memory in ${count(freeRuns, 'run')}`,
      );
    }),
  );
}
