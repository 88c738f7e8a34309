import type { Command } from 'commander';
import { clusterPath } from './paths.ts';
import { showProgress } from './progress.ts';
import { count, formatDuration, formatSize } from './size.ts';
import { type Host, type MountedRun, nodeVerb, withMount } from './verb.ts';

export function addMove(program: Command, host: Host): void {
  nodeVerb(program, 'move', {
    summary: 'move the memory of a file while it is in use, here or to another node',
    description:
      'To one new run of pages of the segment, or with --to to another node of the cluster. Views keep ' +
      'their address and their content; writers go on. The name of the file stays, see mv. Ctrl-C stops ' +
      'between two pieces: what has moved has moved. On its way to another node the file then stays ' +
      'where it was.',
    examples: ['clusterfs move /models/model.bin', 'clusterfs move /models/model.bin --to host-b'],
  })
    .argument('<path>')
    .option('--to <node>', 'to another node of the cluster, by its name: it keeps the file from then on')
    .action(
      withMount(host, async (run, { to }: { to?: string }, path: string) => {
        const name = clusterPath(path);
        if (to === undefined) await moveHere(run, name);
        else await moveTo(run, name, to);
      }),
    );
}

async function moveHere({ fs, out, signal }: MountedRun, name: string): Promise<void> {
  const progress = showProgress(out, { label: `move ${name}`, unit: 'pages' });
  const moved = await fs.move(name, { signal, onProgress: progress.update }).finally(progress.stop);
  out.result({ path: name, ...moved });
  const { before, after, bytesCopied, elapsedMs } = moved;
  out.say(
    `moved ${name}: ${count(before, 'extent')} before, ${after} after; ` +
      `${formatSize(bytesCopied)} copied in ${formatDuration(elapsedMs)}`,
  );
}

async function moveTo({ fs, out, signal }: MountedRun, name: string, to: string): Promise<void> {
  const progress = showProgress(out, { label: `move ${name}`, unit: 'blocks' });
  const moved = await fs.migrate(name, to, { signal, onProgress: progress.update }).finally(progress.stop);
  out.result({ path: name, to, ...moved });
  const { bytes, elapsedMs, pausedMs } = moved;
  // Nothing takes no time at all.
  if (elapsedMs === 0) return out.say(`${name} is at ${to} already`);
  out.say(
    `moved ${name} to ${to}: ${formatSize(bytes)} in ${formatDuration(elapsedMs)}; ` +
      `nobody could store into it for ${formatDuration(pausedMs)}`,
  );
}
