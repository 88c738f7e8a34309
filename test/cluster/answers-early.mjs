/** Breaks a node on purpose: it says that a copy is gone, and takes it from its processes later. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cacheTable } from 'cluster-fs/coherence';

const root = dirname(createRequire(import.meta.url).resolve('@cluster-fs/node/package.json'));
const { BlockMemory } = await import(pathToFileURL(join(root, 'dist/cluster/block-memory.js')).href);
/** Sometimes, so that what is new and what is old can be seen beside each other. */
const lateMs = () => (Math.random() < 0.5 ? 0 : 20);

Object.assign(cacheTable.S, { invalidate: { next: 'SI', actions: ['drop', 'invalidateAck'] } });
Object.assign(cacheTable.SI, { done: { next: 'I', actions: [] } });
const { drop } = BlockMemory.prototype;
BlockMemory.prototype.drop = function (/** @type {number} */ block) {
  AbortSignal.timeout(lateMs()).addEventListener('abort', () => drop.call(this, block));
};
