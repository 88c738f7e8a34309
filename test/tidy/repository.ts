/** The files of this repository: tracked ones, and new ones that git does not ignore. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Source, source } from './source.ts';

export function readRepository(root: string): Source[] {
  const args = ['-c', 'safe.directory=*', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const paths = execFileSync('git', args, { cwd: root, encoding: 'utf8' }).split('\0').filter(Boolean);
  return [...new Set(paths)].sort().flatMap((path) => readText(root, path));
}

/** Nothing for a file that was just deleted, a folder of its own, or one that is not text. */
function readText(root: string, path: string): Source[] {
  const full = join(root, path);
  if (!existsSync(full) || !statSync(full).isFile()) return [];
  const bytes = readFileSync(full);
  return bytes.includes(0) ? [] : [source(path, bytes.toString('utf8'))];
}
