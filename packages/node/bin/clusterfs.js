#!/usr/bin/env node
// The program in few files, if they were made of what is compiled: it starts in less time.
import { isNewest } from './newest.js';

const bundle = new URL('../build/clusterfs.js', import.meta.url);
await import(isNewest(bundle) ? bundle.href : '../dist/cli.js');
