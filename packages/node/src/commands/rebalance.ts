import type { Command } from 'commander';
import { printable } from './output.ts';
import { failures } from './placing.ts';
import { showProgress } from './progress.ts';
import { count, formatSize } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addRebalance(program: Command, host: Host): void {
  nodeVerb(program, 'rebalance', {
    summary: 'move files to where they are used, and from full nodes to empty ones',
    description:
      'A file that another node has asked for, since this was asked last, more than all others together, ' +
      'and that nobody at its home has open, goes to that node. Then files of the fullest node go to the ' +
      'emptiest, until they differ by less than a tenth of their memory.',
    examples: ['clusterfs rebalance --dry-run', 'clusterfs rebalance'],
  })
    .option('--dry-run', 'say what would be moved, and move nothing')
    .action(
      withMount(host, async ({ fs, out, signal }, { dryRun = false }: { dryRun?: boolean }) => {
        const progress = showProgress(out, { label: 'rebalance', unit: 'bytes' });
        const options = { dryRun, signal, onProgress: progress.update };
        const { moves, failed, away } = await fs.rebalance(options).finally(progress.stop);
        out.result({ dryRun, moves, failed, away });
        for (const { path, from, to, bytes, why } of moves)
          out.say(`${printable(path)}: ${from} to ${to}, ${formatSize(bytes)}, by ${why}`);
        const done = dryRun ? 'would move' : 'moved';
        out.say(`${done} ${count(moves.length - failed.length, 'file')}`);
        for (const node of away) out.say(`${printable(node)} cannot be reached: its files stay there`);
        failures(out, failed);
      }),
    );
}
