/** `--allow-uid`, `--allow-gid` and `--limit` of `serve`: from what one types to what the node takes. */
import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { InvalidArgumentError } from 'commander';
import type { Allowed } from '../admission.ts';
import { type LimitName, limitsWith } from '../limits.ts';
import { parseCount, parseSize } from './size.ts';

/** `1000`, `www-data`, `www-data:r`. */
export const parseAllowed =
  (database: 'passwd' | 'group') =>
  (text: string): Allowed => {
    const [, name = '', access] = /^(.*?)(?::(rw?))?$/.exec(text) ?? [];
    const id = /^\d+$/.test(name) ? Number(name) : lookUp(database, name);
    return access === undefined ? id : { id, access: access as 'r' | 'rw' };
  };

/** By getent(1), which also knows users that are not in /etc. */
function lookUp(database: 'passwd' | 'group', name: string): number {
  const what = database === 'passwd' ? 'user' : 'group';
  if (!/^[\w.][\w.@-]*\$?$/.test(name)) throw new InvalidArgumentError(`'${name}' is no name of a ${what}.`);
  const { error, status, stdout } = spawnSync('getent', [database, name], { encoding: 'utf8' });
  if (error !== undefined)
    throw new InvalidArgumentError(`Names cannot be looked up here (${error.message}): give the number.`);
  const id = stdout.split(':')[2];
  if (status !== 0 || id === undefined) throw new InvalidArgumentError(`There is no ${what} ${name}.`);
  return Number(id);
}

/** `views=1000`, `keptBytes=64MiB`. */
export function parseLimit(text: string): readonly [LimitName, number] {
  const [, name = '', amount = ''] = /^(\w+)=(.+)$/.exec(text) ?? [];
  if (amount === '') throw new InvalidArgumentError('Give NAME=AMOUNT.');
  const value = name.endsWith('Bytes') ? parseSize(amount) : parseCount(amount);
  try {
    limitsWith({ [name]: value });
  } catch (error) {
    const { why } = error as { why?: string };
    if (why === undefined) throw error;
    throw new InvalidArgumentError(`${why}.`);
  }
  return [name as LimitName, value];
}

/** A directory above the socket that others cannot enter; undefined when they can reach it. */
export function closedDirectory(socketPath: string): string | undefined {
  for (let path = dirname(socketPath); ; path = dirname(path)) {
    if ((statSync(path).mode & 0o001) === 0) return path;
    if (path === dirname(path)) return undefined;
  }
}
