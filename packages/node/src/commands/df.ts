import type { Command } from 'commander';
import type { StatusReport } from '../coordinator/report.ts';
import { count, formatSize } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addDf(program: Command, host: Host): void {
  nodeVerb(program, 'df', {
    summary: 'memory and inodes: how much there is, and how much is free',
    description:
      'RESERVED is set aside by clients that are writing. WAITING was let go of, but somebody still maps ' +
      'it; ' +
      '`clusterfs holders` says who. RUNS are the pieces that free memory is in; `clusterfs defrag` ' +
      'makes one.',
    examples: ['clusterfs df', 'clusterfs df --json | jq .freeBytes'],
  }).action(
    withMount(host, async ({ fs, out }) => {
      const s = (await fs.status()) as unknown as StatusReport;
      const { totalBytes, usedBytes, freeBytes, reservedBytes, quarantinedBytes } = s;
      const { freeRuns, largestFreeBytes, inodes, freeInodes } = s;
      out.result({
        totalBytes,
        usedBytes,
        freeBytes,
        reservedBytes,
        waitingBytes: quarantinedBytes,
        freeRuns,
        largestFreeBytes,
        inodes,
        freeInodes,
      });
      const heads = ['SIZE', 'USED', 'RESERVED', 'WAITING', 'FREE', 'USE%', 'RUNS', 'INODES'];
      out.table(
        heads.map((head) => ({ head, align: 'right' })),
        [
          [
            ...[totalBytes, usedBytes, reservedBytes, quarantinedBytes, freeBytes].map(formatSize),
            `${Math.ceil(((totalBytes - freeBytes) / totalBytes) * 100)}%`,
            String(freeRuns),
            `${(inodes - freeInodes).toLocaleString('en')} of ${inodes.toLocaleString('en')}`,
          ],
        ],
      );
      if (freeRuns > 1) {
        out.say(`largest of ${count(freeRuns, 'free run')}: ${formatSize(largestFreeBytes)}`);
      }
    }),
  );
}
