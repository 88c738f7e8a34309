/** Breaks a home on purpose: clients of a node that has left stay. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = dirname(createRequire(import.meta.url).resolve('@cluster-fs/node/package.json'));
const { Guests } = await import(pathToFileURL(join(root, 'dist/cluster/guests.js')).href);
Guests.prototype.close = () => undefined;
