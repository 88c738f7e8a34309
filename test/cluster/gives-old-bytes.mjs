/** Breaks a node on purpose: it reads what it gives away before its processes have stopped to store. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = dirname(createRequire(import.meta.url).resolve('@cluster-fs/node/package.json'));
const { BlockMemory } = await import(pathToFileURL(join(root, 'dist/cluster/block-memory.js')).href);
const { drop, protect, read } = BlockMemory.prototype;
const lateMs = 0.3;
/** @type {Map<number, Buffer>} */
const early = new Map();

/** @param {(block: number) => void} begin @returns {(this: object, block: number) => void} */
const late = (begin) =>
  function (block) {
    early.set(block, read.call(this, block));
    const endMs = performance.now() + lateMs;
    while (performance.now() < endMs);
    begin.call(this, block);
  };
BlockMemory.prototype.drop = late(drop);
BlockMemory.prototype.protect = late(protect);
BlockMemory.prototype.read = function (/** @type {number} */ block) {
  const bytes = early.get(block) ?? read.call(this, block);
  early.delete(block);
  return bytes;
};
