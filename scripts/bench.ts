/** `npm run bench`: runs every bench/*.bench.ts in turn; a word as argument picks those it is part of. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root, succeeds } from './command.ts';

const [wanted = '', ...args] = process.argv.slice(2);
const files = readdirSync(join(root, 'bench')).filter(
  (file) => file.endsWith('.bench.ts') && file.includes(wanted),
);
if (files.length === 0) console.log(`bench: no bench/*.bench.ts has '${wanted}' in its name`);

const outcomes = files.map((file) => succeeds(`bench ${file}`, 'tsx', [join('bench', file), ...args]));
process.exitCode = outcomes.every(Boolean) ? 0 : 1;
