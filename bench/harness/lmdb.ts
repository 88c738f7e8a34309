/** lmdb as its users open it, with what it needs to be at its best on tmpfs: nothing is flushed to a disk. */
import { open, type RootDatabase } from 'lmdb';
import { onEnd } from './cleanup.ts';

export function openLmdb(path: string): RootDatabase<Buffer, string | number> {
  const db = open<Buffer, string | number>({ path, encoding: 'binary', mapSize: 2 ** 30, noSync: true });
  onEnd(() => db.close());
  return db;
}
