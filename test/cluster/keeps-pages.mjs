/** Breaks a node on purpose: a block that it gives up stays in the memory of its processes. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = dirname(createRequire(import.meta.url).resolve('@cluster-fs/node/package.json'));
const { DataFile } = await import(pathToFileURL(join(root, 'dist/data-file.js')).href);
DataFile.prototype.punch = () => undefined;
