/**
 * Brings together what happens in one turn of the coordinator by chance: while the file $CLUSTERFS_MEETING is
 * there, the round that has flushed the data file commits in the turn in which a file is given away.
 */
import { EventEmitter, once } from 'node:events';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = dirname(createRequire(import.meta.url).resolve('@cluster-fs/node/package.json'));
const load = (/** @type {string} */ name) => import(pathToFileURL(join(root, name)).href);
const { StoreFile } = await load('dist/store/store-file.js');
const { Journal } = await load('dist/coordinator/journal.js');
const { Moving } = await import('cluster-fs/coherence');
const marker = process.env.CLUSTERFS_MEETING ?? '';

const moments = new EventEmitter();
const given = once(moments, 'given');
const committed = once(moments, 'committed');
let isFlushed = false;

const { flush } = StoreFile.prototype;
StoreFile.prototype.flush = async function () {
  await flush.call(this);
  if (!existsSync(marker)) return;
  await given;
  isFlushed = true;
};
const { mutate } = Journal.prototype;
Journal.prototype.mutate = function (/** @type {unknown} */ operation) {
  const result = mutate.call(this, operation);
  if (isFlushed) moments.emit('committed');
  return result;
};
const { give } = Moving.prototype;
/** @this {unknown} */
Moving.prototype.give = async function (file) {
  await give.call(this, file);
  if (!existsSync(marker)) return;
  moments.emit('given');
  await committed;
};
