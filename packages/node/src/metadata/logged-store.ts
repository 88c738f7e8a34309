/**
 * The metadata of a store: SQLite behind a log. A commit is one record of the log, and SQLite gets what many
 * commits have changed in one transaction, each row once: who changes a file again and again, and syncs it,
 * waits for one write and one flush of a few hundred bytes and the pages.
 *
 *   commit ──▶ in the log, pending here ──settle──▶ SQLite's transaction ──its log flushed──▶ written over
 *
 * INVARIANT: SQLite has everything up to the record `logSequence`, and the log everything behind it. So after
 * a crash SQLite gets the records behind that one, and is as if it had had each commit.
 * INVARIANT: SQLite never names pages whose bytes are neither on the data file's disk nor in its own `redo`:
 * both go there in one transaction.
 * Order: a record is written over when SQLite's transaction with it is on the disk.
 *
 * What a disk has refused once it may leave out of every later flush without a word (fsync(2), NOTES). When
 * it refuses a part of the log, SQLite gets everything, and the other file is written. When it refuses a part
 * of SQLite's own log nothing is promised any more: the next start has the last state that was flushed, and
 * the records behind it.
 */
import { randomInt } from 'node:crypto';
import { FsError } from '@cluster-fs/transport';
import { decodeChanges, encodeChanges } from './change-codec.ts';
import { ChangeLog, readRecords } from './change-log.ts';
import { openSqliteStore } from './sqlite.ts';
import type { Change, MetadataStore } from './store.ts';
import { StoredLists } from './stored-lists.ts';

export const limits = {
  /** Rows that SQLite may be behind: as many take it a few milliseconds. */
  pendingRows: 512,
  /** Bytes of a log file after which the other is written: what a start reads again. */
  logBytes: 2 ** 20,
  /** When pages for the data file are among them that nobody has flushed, they go to SQLite too. */
  longLogBytes: 4 * 2 ** 20,
  /** More than that is not taken while SQLite takes nothing. */
  stuckLogBytes: 64 * 2 ** 20,
} as const;

/** Opens or makes the metadata in `directory`; what a node that died had in its log comes to SQLite first. */
export function openLoggedStore(directory: string): LoggedStore {
  const sqlite = openSqliteStore(`${directory}/metadata.db`, { besideData: false });
  try {
    const sequence = Number(sqlite.superblock('logSequence') ?? 0);
    const changes = unsettled(sqlite, directory);
    // A new term: what is behind the end of what was read is nobody's.
    const term = randomInt(1, 2 ** 32);
    const end = sequence + changes.length;
    sqlite.commit(changes.flat(), { logTerm: String(term), logSequence: String(end) });
    sqlite.flushNow();
    return new LoggedStore(sqlite, new ChangeLog(directory, { term, sequence: end }));
  } catch (error) {
    sqlite.close();
    throw error;
  }
}

/** The commits in the log of a directory that SQLite does not have. */
export function unsettled(sqlite: Pick<MetadataStore, 'superblock'>, directory: string): Change[][] {
  const term = sqlite.superblock('logTerm');
  if (term === undefined) return [];
  return readRecords(directory, Number(term), Number(sqlite.superblock('logSequence'))).map(decodeChanges);
}

/** What a change is about: a later one of the same key leaves nothing of it. */
function keyOf(change: Change): string {
  switch (change.type) {
    case 'putInode':
      return `i${change.row.ino}`;
    case 'deleteInode':
      return `i${change.ino}`;
    case 'putDirent':
      return `n${change.row.parent}/${change.row.name}`;
    case 'deleteDirent':
      return `n${change.parent}/${change.name}`;
    case 'hold':
      return `h${change.row.id}/${change.row.page}`;
    case 'unhold':
      return `h${change.id}`;
    case 'putStored':
      return `e${change.ino}/${change.extent.filePage}`;
    case 'deleteStored':
      return `e${change.ino}/${change.filePage}`;
    case 'forgetStored':
      return `f${change.ino}`;
    case 'putDurable':
      return `d${change.row.ino}`;
    case 'markDirty':
    case 'markClean':
      return `m${change.ino}`;
    case 'putRedo':
      return `r${change.place}`;
    case 'clearRedo':
      return 'r';
  }
}

export class LoggedStore implements MetadataStore {
  readonly #sqlite: MetadataStore;
  readonly #log: ChangeLog;
  /** What SQLite does not have, by key, in the order of the last change of each. */
  readonly #pending = new Map<string, Change>();
  /** Inodes with changes of what is stored among them. */
  readonly #pendingStored = new Set<number>();
  /** Places with bytes among them. */
  readonly #pendingRedo = new Set<string>();
  readonly #lists = new StoredLists();
  /** Transactions that SQLite has had from here. */
  #transactions = 0;
  /** How many of them are on the disk, as far as is known. */
  #durable = 0;
  /** How many a flush must see there: they have what is not in the log, or what the other file has. */
  #needed = 0;
  /** How many the other file has the records of: it is free when they are on the disk. */
  #swappedAt = 0;
  /** Why SQLite's log is not on the disk, and never will be. */
  #refused: FsError | undefined;
  /** Why SQLite did not take what is pending, and how much that was. */
  #stuck: { readonly error: unknown; readonly rows: number } | undefined;

  constructor(sqlite: MetadataStore, log: ChangeLog) {
    this.#sqlite = sqlite;
    this.#log = log;
  }

  superblock(key: string): string | undefined {
    return this.#sqlite.superblock(key);
  }

  /** With everything that was committed before, in one transaction. */
  setSuperblock(values: Readonly<Record<string, string>>): void {
    this.#settle(values);
    this.#needed = this.#transactions;
  }

  commit(changes: readonly Change[]): void {
    if (this.#stuck !== undefined && this.#log.length > limits.stuckLogBytes) this.#settle();
    this.#log.append(encodeChanges(changes));
    for (const change of changes) this.#add(change);
    if (this.#isTimeToSettle()) this.#trySettle();
  }

  growthBytes(): number {
    return this.#sqlite.growthBytes();
  }

  lastIno() {
    return this.#settled().lastIno();
  }

  inodes() {
    return this.#settled().inodes();
  }

  inode(ino: number) {
    return this.#settled().inode(ino);
  }

  names() {
    return this.#settled().names();
  }

  dirents() {
    return this.#settled().dirents();
  }

  nameOf(ino: number) {
    return this.#settled().nameOf(ino);
  }

  held() {
    return this.#settled().held();
  }

  stored(ino: number) {
    return this.#lists.get(ino, () => this.#withStored(ino).stored(ino));
  }

  storedIn(ino: number, from: number, end: number) {
    return this.#withStored(ino).storedIn(ino, from, end);
  }

  storedPlaces() {
    return this.#settled().storedPlaces();
  }

  durable(ino: number) {
    return this.#settled().durable(ino);
  }

  dirty() {
    return this.#settled().dirty();
  }

  redo() {
    return this.#settled().redo();
  }

  /** EIO from then on when the disk refuses SQLite's log. */
  async flush(): Promise<void> {
    do {
      if (this.#log.hasFailed) this.#settle();
      const transactions = this.#transactions;
      if (this.#isSqliteNeeded()) await this.#sqliteFlushed(this.#sqlite.flush(), transactions);
      // Again when the other file was not free before.
    } while (this.#log.hasFailed);
    await this.#log.flush();
  }

  async #sqliteFlushed(flush: Promise<void>, transactions: number): Promise<void> {
    try {
      await flush;
    } catch (cause) {
      throw this.#refuse(cause);
    }
    this.#durable = Math.max(this.#durable, transactions);
  }

  flushNow(): void {
    do {
      if (this.#log.hasFailed) this.#settle();
      if (this.#isSqliteNeeded()) this.#flushSqliteNow();
    } while (this.#log.hasFailed);
    this.#log.flushNow();
  }

  #flushSqliteNow(): void {
    try {
      this.#sqlite.flushNow();
    } catch (cause) {
      throw this.#refuse(cause);
    }
    this.#durable = this.#transactions;
  }

  #refuse(cause: unknown): FsError {
    const why = 'the disk has refused metadata; start the node again';
    const path = cause instanceof FsError ? cause.path : undefined;
    this.#refused ??= new FsError('EIO', 'fdatasync', { path, why, cause });
    return this.#refused;
  }

  /** Whether a flush is one of SQLite's log too. Throws when that will never be on the disk. */
  #isSqliteNeeded(): boolean {
    if (this.#refused !== undefined) throw this.#refused;
    return this.#durable < this.#needed;
  }

  /** SQLite has all of it then, or the log has what SQLite does not take. */
  close(): void {
    this.#trySettle();
    this.#log.close();
    this.#sqlite.close();
  }

  #add(change: Change): void {
    this.#lists.changed(change);
    if (change.type === 'clearRedo') {
      for (const key of this.#pendingRedo) this.#pending.delete(key);
      this.#pendingRedo.clear();
    }
    const key = keyOf(change);
    // The last is where the change is made: what is between may be about more than one key.
    this.#pending.delete(key);
    this.#pending.set(key, change);
    if (change.type === 'putRedo') this.#pendingRedo.add(key);
    else if (change.type === 'putStored' || change.type === 'deleteStored' || change.type === 'forgetStored')
      this.#pendingStored.add(change.ino);
  }

  #isTimeToSettle(): boolean {
    const rows = this.#pending.size - this.#pendingRedo.size;
    const { length } = this.#log;
    if (this.#stuck !== undefined && rows < this.#stuck.rows + limits.pendingRows) return false;
    if (rows >= limits.pendingRows || length >= limits.longLogBytes) return true;
    return length >= limits.logBytes && this.#pendingRedo.size === 0 && this.#isOtherFree;
  }

  /** The commit is made, whatever becomes of this: it is tried again with one of those that follow. */
  #trySettle(): void {
    try {
      this.#settle();
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#stuck = { error, rows: this.#pending.size };
    }
  }

  /** Brings SQLite to the end of the log; throws when it does not take it, and then nothing has changed. */
  #settle(superblock?: Readonly<Record<string, string>>): void {
    if (this.#pending.size > 0 || superblock !== undefined) {
      const logSequence = String(this.#log.sequence);
      this.#sqlite.commit([...this.#pending.values()], { ...superblock, logSequence });
      this.#transactions++;
      this.#pending.clear();
      this.#pendingStored.clear();
      this.#pendingRedo.clear();
    }
    this.#stuck = undefined;
    if (this.#log.length < limits.logBytes && !this.#log.hasFailed) return;
    // SQLite alone will have what is in the file that is left.
    this.#needed = this.#transactions;
    if (!this.#isOtherFree) return;
    this.#log.swap();
    this.#swappedAt = this.#transactions;
  }

  /** Nothing in the file that is not written is needed any more, on the disk too. */
  get #isOtherFree(): boolean {
    return this.#durable >= this.#swappedAt;
  }

  #settled(): MetadataStore {
    if (this.#pending.size > 0) this.#settle();
    return this.#sqlite;
  }

  #withStored(ino: number): MetadataStore {
    return this.#pendingStored.has(ino) ? this.#settled() : this.#sqlite;
  }
}
