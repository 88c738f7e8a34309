/**
 * The store's part in starting a node: whose metadata it is, whether the segment of before is still there,
 * and what to do when it is not.
 */

import { randomUUID } from 'node:crypto';
import { closeSync, openSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { FsError, native, type Spinner } from '@cluster-fs/transport';
import { pageSize } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Recovered } from '../coordinator/recovery.ts';
import { forgetSessions } from '../coordinator/session-locks.ts';
import { makeDirectory } from '../make-directory.ts';
import { openLoggedStore } from '../metadata/logged-store.ts';
import { openSqliteStore } from '../metadata/sqlite.ts';
import type { MetadataStore } from '../metadata/store.ts';
import { Evictor } from './evictor.ts';
import { Pager } from './pager.ts';
import { findAbsent, type Lost, restore, rollBack } from './restore.ts';
import { StoreFile } from './store-file.ts';
import { WriteBack } from './write-back.ts';

export interface StoreOptions {
  readonly store?: string;
  readonly writeBackMs?: number;
}

/** The metadata, and what became of the segment that goes with it. */
export interface OpenedMetadata {
  readonly store: MetadataStore;
  readonly runDirectory: string;
  /** The segment in the run directory is the one of this metadata: nothing was lost. */
  readonly isSame: boolean;
  readonly lost: Lost;
}

const nothing: Lost = { rolledBack: 0, removed: 0 };

/**
 * The store's directory by its one name, made if need be; undefined without a store. ENOTDIR when something
 * else is there.
 */
export function storePath({ store }: StoreOptions): string | undefined {
  if (store === undefined) return undefined;
  makeDirectory(store);
  return realpathSync(store);
}

export function openMetadata(
  options: StoreOptions,
  runDirectory: string,
  cleanup: (() => void)[],
): OpenedMetadata {
  const directory = storePath(options);
  if (directory === undefined) {
    const store = openSqliteStore(`${runDirectory}/metadata.db`, { besideData: true });
    cleanup.push(() => store.close());
    return { store, runDirectory, isSame: true, lost: nothing };
  }
  lock(directory, cleanup);
  const store = openLoggedStore(directory);
  cleanup.push(() => store.close());
  const id = store.superblock('runId');
  const isSame = id !== undefined && id === readIfThere(`${runDirectory}/run-id`);
  if (isSame) return { store, runDirectory, isSame, lost: nothing };
  // Of another metadata: nothing in it is ours.
  rmSync(`${runDirectory}/data`, { force: true });
  forgetSessions(runDirectory);
  return { store, runDirectory, isSame, lost: rollBack(store) };
}

/** One node has the store, whatever socket it listens on. */
function lock(directory: string, cleanup: (() => void)[]): void {
  const fd = openSync(`${directory}/lock`, 'a', 0o600);
  cleanup.push(() => closeSync(fd));
  if (!native.lockFile(fd))
    throw new FsError('EBUSY', 'open', { path: directory, why: 'another node has the store' });
}

export function openWriteBack(
  options: StoreOptions & { readonly writeBackMs?: number },
  { store }: OpenedMetadata,
  { writer }: Recovered,
): WriteBack | undefined {
  const directory = storePath(options);
  if (directory === undefined) return undefined;
  const segmentId = Buffer.from(writer.segment.id, 'hex');
  // What the node of before has committed may not be on the disk: places that it let go of are named by what
  // a loss of power would bring back. And the data file of a new store must not be there before its metadata.
  store.flushNow();
  const file = new StoreFile(`${directory}/data`, { segmentId, used: store.storedPlaces() });
  file.redo(store.redo());
  return new WriteBack({ file, store, afterMs: options.writeBackMs ?? defaultWriteBackMs });
}

const defaultWriteBackMs = 5000;

interface BeginOptions {
  /** Bytes. */
  readonly memory: number;
  readonly spinner: Spinner;
  readonly onNotice: (message: string) => void;
}

/** Brings back what was lost, and begins to watch for what changes. Requires: nobody is served yet. */
export function beginWriteBack(
  c: Coordinator,
  writeBack: WriteBack,
  { store, runDirectory, isSame, lost }: OpenedMetadata,
  { memory, spinner, onNotice }: BeginOptions,
): void {
  const pager = new Pager(c, { store, file: writeBack.file, spinner });
  c.pager = pager;
  if (isSame) findAbsent(c, pager);
  else {
    restore(c, pager, store);
    if (lost.rolledBack > 0) onNotice(`${lost.rolledBack} files are as they were at their last sync`);
    if (lost.removed > 0) onNotice(`${lost.removed} files that were never synced are gone`);
    const id = randomUUID();
    writeFileSync(`${runDirectory}/run-id`, id, { mode: 0o600 });
    store.setSuperblock({ runId: id });
  }
  writeBack.start(c);
  const evictor = new Evictor(c, { pager, writeBack, limitPages: Math.floor(roomOf(c, memory) / pageSize) });
  c.evictor = evictor;
  if (isSame) evictor.start();
}

/**
 * How much of the files there is memory for: of a tmpfs that is smaller than what was promised, a sixteenth
 * is left for what comes in before something has gone.
 */
const roomOf = ({ data }: Coordinator, memory: number): number =>
  Math.min(memory, data.roomBytes() * (15 / 16));

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
