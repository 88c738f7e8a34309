import type { Command } from 'commander';
import type { HolderReport } from '../coordinator/report.ts';
import { printable } from './output.ts';
import { clusterPath } from './paths.ts';
import { formatDuration, formatSize, parseCount } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addHolders(program: Command, host: Host): void {
  nodeVerb(program, 'holders', {
    summary: 'who maps what, and what they hold up',
    description:
      'One line for each view. OWES is how long a view has not answered that its file lies elsewhere ' +
      'now, HOLDS UP ' +
      'the memory that cannot be used again because of it. RECALLED is how long a change of the file has ' +
      'waited for it to let go.',
    examples: ['clusterfs holders', 'clusterfs holders /models/model.bin'],
  })
    .argument('[path]', 'only who maps this file')
    .action(
      withMount(host, async ({ fs, out }, _: object, path: string | undefined) => {
        const name = path === undefined ? undefined : clusterPath(path);
        const holders = (await fs.holders(name)) as unknown as readonly HolderReport[];
        out.result(holders);
        if (holders.length === 0) out.say('nobody maps anything');
        out.table(
          [
            { head: 'SESSION', align: 'right' },
            { head: 'PID', align: 'right' },
            { head: 'MODE' },
            { head: 'FOLLOW' },
            { head: 'SIZE', align: 'right' },
            { head: 'EXTENTS', align: 'right' },
            { head: 'VERSION', align: 'right' },
            { head: 'OWES', align: 'right' },
            { head: 'RECALLED', align: 'right' },
            { head: 'HOLDS UP', align: 'right' },
            { head: 'PATH' },
            { head: 'LABEL' },
          ],
          holders.map(row),
        );
      }),
    );
}

function row(h: HolderReport): string[] {
  const isBehind = h.layoutVersion !== h.currentVersion;
  return [
    String(h.session),
    String(h.pid),
    h.mode,
    h.follow,
    formatSize(h.bytes),
    String(h.extents),
    isBehind ? `${h.layoutVersion} of ${h.currentVersion}` : String(h.layoutVersion),
    typeof h.owesAnswerMs === 'number' ? formatDuration(h.owesAnswerMs) : '-',
    typeof h.recalledMs === 'number' ? formatDuration(h.recalledMs) : '-',
    h.holdsUpBytes === 0 ? '-' : formatSize(h.holdsUpBytes),
    printable(h.path),
    printable(h.label),
  ];
}

export function addRevoke(program: Command, host: Host): void {
  nodeVerb(program, 'revoke', {
    summary: 'end the session of a client',
    description:
      'Nobody waits for it any more. Its views read as zeros as soon as it hears of it, and its calls ' +
      'fail; then the memory that it mapped is free. A process that is stopped hears of it when it goes ' +
      'on: until then, or until it is killed, nobody gets that memory.',
    examples: ['clusterfs revoke 17   # a number that `clusterfs holders` shows'],
  })
    .argument('<session>', 'its number in status and holders', parseCount)
    .action(
      withMount(host, async ({ fs, out }, _: object, session: number) => {
        await fs.revoke(session);
        out.result({ revoked: session });
        out.say(`revoked session ${session}`);
      }),
    );
}
