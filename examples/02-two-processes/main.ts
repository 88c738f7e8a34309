/**
 * Two programs, one array. They are started apart and know nothing but the URL of the node.
 *
 *   npm run example -- 02
 *
 * Look at: the sum, which `second` takes over numbers that only `first` ever stored; the memory, which each
 * of the two maps in full and pays for by half; and the round trips, a word of that array going to and fro.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Sandbox } from '../sandbox.ts';

await using sandbox = new Sandbox();
await sandbox.serve('--memory', '64MiB');

// As in two more terminals: `tsx first.ts unix:…` and `tsx second.ts unix:…`, in any order.
const programs = ['./second.ts', './first.ts'].map((script) =>
  sandbox.start(new URL(script, import.meta.url), sandbox.url),
);
const exits = await Promise.all(programs.map((program) => once(program, 'exit')));
assert.deepEqual(exits.flat(), [0, null, 0, null]);
console.log('\nOne array: what one program stored, the other saw. No byte was copied or sent.');
