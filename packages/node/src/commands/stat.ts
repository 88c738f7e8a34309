import type { ClusterFs } from 'cluster-fs';
import type { Command } from 'commander';
import { type Entry, entryOf, modeText, timeText } from './ls.ts';
import { type Output, printable } from './output.ts';
import { clusterPath } from './paths.ts';
import { count, formatSize } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

interface Details extends Entry {
  readonly blocks: number;
  readonly atimeMs: number;
  readonly ctimeMs: number;
  readonly birthtimeMs: number;
  readonly extents: number;
  /** The node that keeps it; null for what is no file, and at a node alone. */
  readonly home: string | null;
}

export function addStat(program: Command, host: Host): void {
  nodeVerb(program, 'stat', {
    summary: 'what is known of files',
    description: 'A symlink is told of itself, not of what it leads to.',
    examples: ['clusterfs stat /models/model.bin', 'clusterfs stat --json /models | jq .[0].ino'],
  })
    .argument('<paths...>')
    .action(
      withMount(host, async ({ fs, out }, _: object, paths: readonly string[]) => {
        const all = await Promise.all(paths.map((path) => detailsOf(fs, clusterPath(path))));
        out.result(all);
        all.forEach((details, index) => {
          if (index > 0) out.say('');
          show(out, details);
        });
      }),
    );
}

async function detailsOf(fs: ClusterFs, path: string): Promise<Details> {
  const entry = entryOf(fs, path, path);
  const { blocks, atimeMs, ctimeMs, birthtimeMs } = fs.lstatSync(path);
  const isFile = entry.type === 'file';
  const extents = isFile ? fs.extents(path).length : 0;
  const home = isFile ? await fs.homeOf(path) : null;
  return { ...entry, blocks, atimeMs, ctimeMs, birthtimeMs, extents, home };
}

function show({ table, colors }: Output, details: Details): void {
  const { path, type, target, size, blocks, mode, uid, gid, nlink, ino, extents, home } = details;
  const rows: [string, string][] = [
    ['path', printable(path) + (target === undefined ? '' : ` -> ${printable(target)}`)],
    ['type', type],
    [
      'size',
      type === 'file' ? `${formatSize(size)} (${size} bytes, ${formatSize(blocks * 512)} held)` : `${size}`,
    ],
    ['mode', `${modeText(details)} (0${(mode & 0o7777).toString(8)}), uid ${uid}, gid ${gid}`],
    ['inode', `${ino}, ${count(nlink, 'link')}`],
    ...(type === 'file' ? [['lies in', count(extents, 'extent')] as [string, string]] : []),
    ...(home === null ? [] : [['kept by', `node ${printable(home)}`] as [string, string]]),
    ['modified', timeText(details.mtimeMs)],
    ['changed', timeText(details.ctimeMs)],
    ['accessed', timeText(details.atimeMs)],
    ['made', timeText(details.birthtimeMs)],
  ];
  table(
    [{ head: '' }, { head: '' }],
    rows.map(([name, value]) => [colors.bold(name), value]),
  );
}
