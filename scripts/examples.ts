/** `npm run example -- 01` runs examples/01-…/main.ts with the arguments that follow; without one, a list. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root, succeeds } from './command.ts';

const [number, ...args] = process.argv.slice(2);
const names = readdirSync(join(root, 'examples')).filter((name) => /^\d\d-/.test(name));
const name = names.find((candidate) => number !== undefined && candidate.startsWith(number));

if (name === undefined) {
  console.log(`Usage: npm run example -- NUMBER\n${names.map((each) => `  ${each}`).join('\n')}`);
  process.exitCode = number === undefined ? 0 : 1;
} else {
  // Not by the command tsx: it kills whoever has not heard Ctrl-C after 60 ms, and nothing is cleaned up.
  const options = ['--import', 'tsx', join('examples', name, 'main.ts')];
  if (!succeeds(`example ${name}`, process.execPath, [...options, ...args])) process.exitCode = 1;
}
