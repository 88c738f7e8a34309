#!/usr/bin/env node
// The program in few files: it starts in less time. In a clone they are made anew of what was compiled since,
// by who may write there; else, and where the package was installed, there are the modules.
import { existsSync } from 'node:fs';
import { isNewest } from './newest.js';

const bundle = new URL('../build/clusterfs.js', import.meta.url);
const bundler = new URL('../../../scripts/bundle.mjs', import.meta.url);
if (!isNewest(bundle) && existsSync(bundler)) {
  await import(bundler.href).catch(({ message }) => {
    process.stderr.write(`clusterfs: the libraries may be older than what was compiled: ${message}\n`);
  });
}
await import(isNewest(bundle) ? bundle.href : '../dist/cli.js');
