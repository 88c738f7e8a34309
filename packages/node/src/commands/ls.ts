import { posix } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import type { Command } from 'commander';
import { type Output, printable } from './output.ts';
import { clusterPath } from './paths.ts';
import { formatSize } from './size.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

interface Options {
  readonly long?: true;
  readonly all?: true;
  readonly recursive?: true;
}

export interface Entry {
  readonly path: string;
  readonly name: string;
  readonly type: 'file' | 'directory' | 'symlink';
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly ino: number;
  readonly mtimeMs: number;
  /** Of a symlink. */
  readonly target?: string;
}

export function addLs(program: Command, host: Host): void {
  nodeVerb(program, 'ls', {
    summary: 'list a directory',
    description: 'Names that start with a dot are left out unless -a is given; --json lists them all.',
    examples: ['clusterfs ls -l /models', "clusterfs ls -R --json / | jq '.[].path'"],
  })
    .argument('[path]', 'what to list', '/')
    .option('-l, --long', 'with mode, links, owner, size and time')
    .option('-a, --all', 'also names that start with a dot')
    .option('-R, --recursive', 'and everything below')
    .action(
      withMount(host, async ({ fs, out, signal }, options: Options, path: string) => {
        const start = clusterPath(path);
        const stats = fs.statSync(start);
        if (!stats.isDirectory()) {
          const entry = entryOf(fs, start, start);
          out.result([entry]);
          show(out, options, [entry]);
          return;
        }
        const all: Entry[] = [];
        for (const { directory, entries } of listings(fs, start, options)) {
          signal.throwIfAborted();
          if (options.recursive === true)
            out.say(`${directory === start ? '' : '\n'}${printable(directory)}:`);
          if (out.json) all.push(...entries);
          show(
            out,
            options,
            options.all === true ? entries : entries.filter(({ name }) => !name.startsWith('.')),
          );
        }
        out.result(all);
      }),
    );
}

/** The directory, and with `recursive` those below, each before its own. */
function* listings(
  fs: ClusterFs,
  start: string,
  { recursive }: Options,
): Generator<{ directory: string; entries: Entry[] }> {
  const waiting = [start];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    const entries = entriesOf(fs, directory);
    yield { directory, entries };
    if (recursive !== true) return;
    const below = entries.filter(({ type }) => type === 'directory').map(({ path }) => path);
    waiting.push(...below.reverse());
  }
}

function entriesOf(fs: ClusterFs, directory: string): Entry[] {
  return fs
    .readdirSync(directory)
    .sort()
    .flatMap((name) => {
      try {
        return [entryOf(fs, posix.join(directory, name), name)];
      } catch (error) {
        // It went between the two looks.
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
        throw error;
      }
    });
}

/** What is known of a name, from shared memory; a symlink is told of itself. */
export function entryOf(fs: ClusterFs, path: string, name: string): Entry {
  const { size, mode, uid, gid, nlink, ino, mtimeMs } = fs.lstatSync(path);
  const type = typeOf(mode);
  return {
    path,
    name,
    type,
    size,
    mode,
    uid,
    gid,
    nlink,
    ino,
    mtimeMs,
    ...(type === 'symlink' ? { target: fs.readlinkSync(path) } : {}),
  };
}

function typeOf(mode: number): Entry['type'] {
  const type = mode & 0o170000;
  return type === 0o040000 ? 'directory' : type === 0o120000 ? 'symlink' : 'file';
}

function show(out: Output, { long }: Options, entries: readonly Entry[]): void {
  if (long !== true) {
    for (const entry of entries) out.say(colored(out, entry));
    return;
  }
  out.table(
    [
      { head: '' },
      { head: '', align: 'right' },
      { head: '', align: 'right' },
      { head: '', align: 'right' },
      { head: '', align: 'right' },
      { head: '' },
      { head: '' },
    ],
    entries.map((entry) => [
      modeText(entry),
      String(entry.nlink),
      String(entry.uid),
      String(entry.gid),
      entry.type === 'file' ? formatSize(entry.size) : '-',
      timeText(entry.mtimeMs),
      colored(out, entry) + (entry.target === undefined ? '' : ` -> ${printable(entry.target)}`),
    ]),
  );
}

function colored({ colors }: Output, { name, type }: Entry): string {
  const text = printable(name);
  if (type === 'directory') return colors.blue(`${text}/`);
  return type === 'symlink' ? colors.cyan(text) : text;
}

/** `-rw-r--r--`, as ls(1) writes it. */
export function modeText({ type, mode }: Pick<Entry, 'type' | 'mode'>): string {
  const kind = { file: '-', directory: 'd', symlink: 'l' }[type];
  const bits = [6, 3, 0].map((shift) => {
    const rights = (mode >> shift) & 7;
    return `${rights & 4 ? 'r' : '-'}${rights & 2 ? 'w' : '-'}${rights & 1 ? 'x' : '-'}`;
  });
  return kind + bits.join('');
}

/** Local time to the second. */
export function timeText(ms: number): string {
  const date = new Date(ms);
  const pad = (n: number): string => String(n).padStart(2, '0');
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}
