/**
 * Two hosts, one file system: a node on each, joined over TCP, and a program on each that maps the same
 * files.
 *
 *   npm run example -- 05
 *   npm run example -- 05 --loopback    # without network namespaces, which take root
 *
 * Look at: the counter, to which the two programs add in turns, with nothing but loads and stores; the sum
 * over a file that is on the other host, which takes the network once; and the file written on b, which is
 * there on a as soon as b knows that it is written.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeHosts } from '../hosts.ts';
import { Sandbox } from '../sandbox.ts';

await using sandbox = new Sandbox();
const { a, b, address, what } = makeHosts(sandbox, { loopback: process.argv.includes('--loopback') });
console.log(what);

// Who has the token is a node of the cluster: it goes to every host, and to nobody else.
writeFileSync(join(sandbox.directory, 'token'), sandbox.clusterfs('cert', 'token'), { mode: 0o600 });
const options = ['--memory', '128MiB', '--token-file', 'token'];
const home = await sandbox.serveAt(a, '--name', 'a', '--listen', `tcp://${address}:0`, ...options);
assert(home !== undefined);
await sandbox.serveAt(b, '--name', 'b', '--join', home, ...options);
console.log();

const programs = [
  sandbox.startAt(a, new URL('./on-a.ts', import.meta.url), sandbox.urlAt(a)),
  sandbox.startAt(b, new URL('./on-b.ts', import.meta.url), sandbox.urlAt(b)),
];
const exits = await Promise.all(programs.map((program) => once(program, 'exit')));
assert.deepEqual(exits.flat(), [0, null, 0, null]);
console.log('\nTwo memories, one file: what was stored on one host, the other saw.');
