import type { Command } from 'commander';
import { fsck } from '../fsck/fsck.ts';
import { Found } from './failure.ts';
import { showProgress } from './progress.ts';
import { count } from './size.ts';
import { asServer, type Host, verb } from './verb.ts';

interface Options {
  readonly store: string;
  readonly repair?: true;
}

export function addFsck(program: Command, host: Host): void {
  verb(program, 'fsck', {
    summary: 'check a store whose node is stopped, and mend it',
    description:
      'SQLite, names and links, where files lie, and the sum of every page that is stored. A finding is a ' +
      'line; then the exit code is 1. Nothing is changed without --repair, which mends what can be mended ' +
      'without guessing and says each time what it did and which bytes are lost (they read as zeros); the ' +
      'exit code is 0 when nothing is left to mend. Files without a name come back as /lost+found.INODE. ' +
      'For a node that runs there is `clusterfs check`.',
    examples: [
      'clusterfs fsck --store /var/lib/clusterfs && echo sound',
      'clusterfs fsck --store /var/lib/clusterfs --repair',
    ],
  })
    .requiredOption('--store <dir>', 'the directory of the store')
    .option('--repair', 'mend what is found')
    .action(
      asServer(host, async ({ out, signal }, { store, repair }: Options) => {
        const progress = showProgress(out, { label: 'fsck', unit: 'pages' });
        try {
          const report = await fsck(store, {
            repair: repair === true,
            signal,
            onProgress: (done, total) => progress.update(done, total),
          });
          progress.stop();
          out.result(report);
          for (const line of report.findings) out.say(line);
          for (const line of report.mended) out.say(`mended: ${line}`);
          if (repair === true) for (const line of report.left) out.say(`not mended: ${line}`);
          if (report.left.length > 0) throw new Found(count(report.left.length, 'finding'));
          out.say(report.findings.length === 0 ? 'sound: nothing was found' : 'sound again');
        } finally {
          progress.stop();
        }
      }),
    );
}
