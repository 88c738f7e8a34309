/** Checking a store whose node is stopped, and mending it. Without `repair` nothing is written. */
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FsError, native } from '@cluster-fs/transport';
import Database from 'better-sqlite3';
import { runDirectory } from 'cluster-fs';
import { openLoggedStore, unsettled } from '../metadata/logged-store.ts';
import { schemaVersion } from '../metadata/sqlite.ts';
import { checkContent } from './content.ts';
import { type Finding, readRows } from './rows.ts';
import { checkTree } from './tree.ts';

export interface FsckOptions {
  readonly repair: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, total: number) => void;
}

export interface FsckReport {
  readonly findings: readonly string[];
  /** What was done, in its order. */
  readonly mended: readonly string[];
  /** Findings that are there still. */
  readonly left: readonly string[];
}

/** One thing mended may show another: a name that goes leaves an inode without one. */
const mostPasses = 10;

/** @throws FsError ENOENT (no store), EBUSY (a node has it, or has left its memory), EPROTONOSUPPORT, EIO */
export async function fsck(store: string, options: FsckOptions): Promise<FsckReport> {
  const path = `${store}/metadata.db`;
  if (!existsSync(path)) throw new FsError('ENOENT', 'fsck', { path, why: 'there is no store' });
  const directory = realpathSync(store);
  const lock = openSync(`${directory}/lock`, 'a', 0o600);
  try {
    if (!native.lockFile(lock))
      throw new FsError('EBUSY', 'fsck', {
        path: directory,
        why: 'a node has the store: use clusterfs check',
      });
    return await withDatabase(directory, options, (db) => checkAndMend(db, directory, options));
  } catch (error) {
    if (error instanceof Database.SqliteError)
      throw new FsError('EIO', 'fsck', { path, why: `SQLite: ${error.message}`, cause: error });
    throw error;
  } finally {
    closeSync(lock);
  }
}

/**
 * Runs `work` on the metadata with what a killed node had in its log: it is brought to SQLite, in a copy when
 * nothing is to be written.
 */
async function withDatabase<T>(
  directory: string,
  { repair }: FsckOptions,
  work: (db: Database.Database) => Promise<T>,
): Promise<T> {
  const place = (where: string): string => `${where}/metadata.db`;
  const db = openDatabase(place(directory), repair);
  try {
    if (repair) assertMemoryGone(db, directory);
    if (unsettled(readRows(db), directory).length === 0) return await work(db);
  } finally {
    db.close();
  }
  const copy = repair ? undefined : mkdtempSync(join(tmpdir(), 'clusterfs-fsck-'));
  try {
    if (copy !== undefined)
      for (const name of readdirSync(directory))
        if (name.startsWith('metadata.db') || name.startsWith('log-'))
          copyFileSync(join(directory, name), join(copy, name));
    openLoggedStore(copy ?? directory).close();
    const whole = openDatabase(place(copy ?? directory), repair);
    try {
      return await work(whole);
    } finally {
      whole.close();
    }
  } finally {
    if (copy !== undefined) rmSync(copy, { recursive: true });
  }
}

function openDatabase(path: string, repair: boolean): Database.Database {
  const db = new Database(path, { readonly: !repair });
  try {
    const version = db.pragma('user_version', { simple: true });
    if (version !== schemaVersion) {
      const why = `metadata version ${version}, this build checks ${schemaVersion}`;
      throw new FsError('EPROTONOSUPPORT', 'fsck', { path, why });
    }
    if (repair) db.pragma('synchronous = FULL');
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

async function checkAndMend(
  db: Database.Database,
  directory: string,
  options: FsckOptions,
): Promise<FsckReport> {
  const first = await check(db, directory, options);
  const mended: string[] = [];
  let left = first;
  for (let pass = 0; options.repair && pass < mostPasses; pass++) {
    const mends = left.flatMap(({ mend }) => mend ?? []);
    if (mends.length === 0) break;
    db.transaction(() => {
      for (const { run } of mends) run();
    })();
    mended.push(...mends.map(({ line }) => line));
    left = await check(db, directory, options);
  }
  const lines = (findings: readonly Finding[]): string[] => findings.map(({ line }) => line);
  return { findings: lines(first), mended: [...new Set(mended)], left: lines(left) };
}

async function check(db: Database.Database, directory: string, options: FsckOptions): Promise<Finding[]> {
  const integrity = db.pragma('integrity_check') as { integrity_check: string }[];
  const damage = integrity.map((row) => row.integrity_check).filter((line) => line !== 'ok');
  // Rows of a damaged table are not to be trusted, and not to be mended.
  if (damage.length > 0) return damage.map((line) => ({ line: `metadata.db: ${line}` }));
  const rows = readRows(db);
  const missing = ['segmentId', 'dataSize', 'inodeCount', 'epoch'].filter(
    (key) => rows.superblock(key) === undefined,
  );
  if (missing.length > 0) return [{ line: `metadata.db: has no ${missing.join(', ')}` }];
  const findings = [...checkTree(rows)];
  for await (const finding of checkContent(rows, `${directory}/data`, options)) findings.push(finding);
  return findings;
}

/**
 * The memory of a killed node may be newer than the store, and knows nothing of what is mended here. So may
 * that of a stopped one be, when it has clients that live.
 */
function assertMemoryGone(db: Database.Database, directory: string): void {
  const memory = runDirectory(directory);
  const file = `${memory}/run-id`;
  const id = readRows(db).superblock('runId');
  if (id === undefined || !existsSync(file) || readFileSync(file, 'utf8') !== id) return;
  const why = `the node has left its memory in ${memory}: start it, and stop it when nobody has it mounted`;
  throw new FsError('EBUSY', 'fsck', { path: directory, why });
}
