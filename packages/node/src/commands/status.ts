import type { Command } from 'commander';
import type { ClusterReport } from '../coordinator/elsewhere.ts';
import type { StatusReport } from '../coordinator/report.ts';
import { type Output, printable } from './output.ts';
import { count, formatDuration, formatSize } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addStatus(program: Command, host: Host): void {
  nodeVerb(program, 'status', {
    summary: 'what the node is, has and does',
    description:
      'Memory, commits, who is connected; and what waits for somebody to let go: memory, changes of files.',
    examples: ['clusterfs status', 'clusterfs status --json | jq .sessions'],
  }).action(
    withMount(host, async ({ fs, out }) => {
      const status = (await fs.status()) as unknown as StatusReport;
      out.result(status);
      show(out, status, fs.session.id);
    }),
  );
}

function show(out: Output, s: StatusReport, ownSession: number): void {
  const { bold, yellow } = out.colors;
  out.table(
    [{ head: '' }, { head: '' }],
    [
      ['node', `version ${s.version}, pid ${s.pid}, up ${formatDuration(s.uptimeMs)}, epoch ${s.epoch}`],
      ['listens', s.listening.join(', ')],
      ['segment', `${formatSize(s.totalBytes)}, id ${s.segment}`],
      ['memory', memoryText(s)],
      ['store', storeText(s)],
      ...(s.cluster === null ? [] : [['cluster', clusterText(s.cluster)]]),
      ['inodes', `${(s.inodes - s.freeInodes).toLocaleString('en')} of ${s.inodes.toLocaleString('en')}`],
      ['activity', `${s.commits.toLocaleString('en')} commits, ${s.events.toLocaleString('en')} events`],
      ['process', `${formatSize(s.rssBytes)} resident`],
      ...(s.refused + s.overLimit === 0 ? [] : [['turned away', turnedAwayText(s)]]),
    ].map(([name = '', value = '']) => [bold(name), value]),
  );
  out.say('');
  out.table(
    [
      { head: 'SESSION', align: 'right' },
      { head: 'PID', align: 'right' },
      { head: 'UID', align: 'right' },
      { head: 'ACCESS' },
      { head: 'KIND' },
      { head: 'VIEWS', align: 'right' },
      { head: 'HANDLES', align: 'right' },
      { head: 'RESERVED', align: 'right' },
      { head: 'LABEL' },
    ],
    s.sessions.map((session) => [
      String(session.session),
      String(session.pid),
      String(session.uid),
      session.access,
      session.revoked ? 'revoked' : session.kind,
      String(session.views),
      String(session.handles),
      formatSize(session.reservedBytes),
      `${printable(session.label)}${session.session === ownSession ? ' (this one)' : ''}`,
    ]),
  );
  for (const { path, bytes, sinceMs, for: parties } of s.waiting) {
    out.say(
      yellow(
        `${formatSize(bytes)} of ${printable(path)} wait since ${new Date(sinceMs).toISOString()} for ` +
          parties.join(', '),
      ),
    );
  }
  for (const { path, reason, sinceMs, for: parties } of s.recalls) {
    const since = new Date(sinceMs).toISOString();
    out.say(
      yellow(`${reason} of ${printable(path)} waits since ${since} for ${parties.join(', ')} to let go`),
    );
  }
  for (const { session, pid } of s.unresolvedSessions) {
    const who = pid === 0 ? 'of another PID namespace' : `pid ${pid}`;
    out.say(yellow(`session ${session} (${who}) of before has not come back yet`));
  }
}

const turnedAwayText = ({ refused, overLimit }: StatusReport): string =>
  [
    `${count(refused, 'connection of a user', 'connections of users')} who may not connect`,
    `${overLimit.toLocaleString('en')} for a limit`,
  ].join(', ');

function storeText({ store }: StatusReport): string {
  if (store === null) return 'none: files live in memory only';
  const { path, dirtyFiles, oldestDirtyMs, failure, absentBytes, damage } = store;
  const waiting =
    dirtyFiles === 0
      ? 'everything is written'
      : `${count(dirtyFiles, 'file')} changed, the first ${formatDuration(oldestDirtyMs)} ago`;
  const absent = absentBytes === 0 ? [] : [`${formatSize(absentBytes)} not in memory`];
  const failed = failure === null ? [] : [`NOT WRITTEN: ${failure}`];
  const damaged = damage.map(
    ({ ino, path: name, bytes }) =>
      `DAMAGED: ${formatSize(bytes)} of ${name === undefined ? `inode ${ino}` : printable(name)}`,
  );
  return [path, waiting, ...absent, ...failed, ...damaged].join('; ');
}

function clusterText(cluster: ClusterReport): string {
  const { role, name, home, nodes, sequence, keptBytes, cachedBytes, lentBlocks, lostBlocks } = cluster;
  const lost = lostBlocks === 0 ? [] : [`LOST: ${count(lostBlocks, 'block')} that ended with a node`];
  const change = `at change ${sequence.toLocaleString('en')}`;
  if (role === 'member') {
    const where = `the files of ${home?.url}${home?.isConnected === true ? '' : ' (NOT CONNECTED)'}`;
    const kept = keptBytes === 0 ? [] : [`keeps ${formatSize(keptBytes)}`];
    return [name, where, change, `${formatSize(cachedBytes)} of others here`, ...kept, ...lost].join('; ');
  }
  const names = nodes.map(({ name: each, url, keptBytes }) => {
    const kept = keptBytes === null ? '' : `, keeps ${formatSize(keptBytes)}`;
    return `${printable(each)} (${url ?? 'NOT CONNECTED'}${kept})`;
  });
  const joined = names.length === 0 ? 'no other node' : `joined by ${names.join(', ')}`;
  return [name, joined, change, `${count(lentBlocks, 'block')} with others`, ...lost].join('; ');
}

function memoryText(s: StatusReport): string {
  const largest = formatSize(s.largestFreeBytes);
  const free = `${formatSize(s.freeBytes)} free in ${count(s.freeRuns, 'run')}, the largest ${largest}`;
  const held = [
    [s.reservedBytes, 'reserved'] as const,
    [s.quarantinedBytes, 'waiting for holders'] as const,
  ].flatMap(([bytes, what]) => (bytes > 0 ? [`${formatSize(bytes)} ${what}`] : []));
  return [`${formatSize(s.usedBytes)} used`, free, ...held].join('; ');
}
