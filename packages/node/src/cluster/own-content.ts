/**
 * What a node did to the files that it keeps, on its way to the coordinator: their sizes, times, and which
 * pages they have. A change is answered when the coordinator has committed it and every node knows it.
 *
 *   committed here ──▶ waits ──sent, with all that came meanwhile──▶ committed there ──▶ answered
 *                        ▲─────── the link broke, or refused ─────────┘
 *
 * Only the last state of a file is sent: what is sent again does no harm. What the coordinator refuses, for
 * want of space say, fails for who waits for it, and is sent again until it is not refused any more.
 */
import { type ErrorCode, FsError } from '@cluster-fs/transport';
import { mostPageRuns, type PeerContent, type PeerLink, type PeerRefusal } from '@cluster-fs/transport/peer';
import { defaultLease } from 'cluster-fs/coherence';
import { InodeCopy, isFile, readInode } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { inodeRow } from '../coordinator/journal.ts';
import { Signal } from '../coordinator/signal.ts';
import type { Homes } from './homes.ts';
import { bytesOfRuns, partBytes } from './parts.ts';
import { pagesOf } from './rows.ts';
import { hasStopped } from './stopping.ts';

/** Files in one message, if it has room for them. */
const batchFiles = 512;
/** Of one that has nothing. */
const fileBytes = 64;
/**
 * A change waits so long for other nodes: one that died holds it up until its lease is over, one that applies
 * nothing for twice as long.
 */
const heldUpMs = 3 * defaultLease.leaseMs;
/** How often it is looked whether the coordinator can be reached. */
const lookMs = 500;
/** How long to wait before what has failed is sent again, in turn; the last again and again. */
const backoffMs = [50, 100, 200, 400, 800, 1600] as const;

interface Unsent {
  /** The last change. */
  last: number;
  /** The last that the coordinator knows. */
  known: number;
  /** Of what came up to `last` just then. */
  refused: { readonly last: number; readonly reason: FsError } | undefined;
}

export class OwnContent {
  readonly #c: Coordinator;
  readonly #homes: Homes;
  readonly #link: () => PeerLink | undefined;
  /** Files whose state the coordinator may not have. */
  readonly #unsent = new Map<number, Unsent>();
  /** Those of them that were refused, and have to wait. */
  readonly #later = new Set<number>();
  #retry: NodeJS.Timeout | undefined;
  #failures = 0;
  /** When files were changed, as the coordinator knows it. */
  readonly #mtimes = new Map<number, number>();
  readonly #sent = new Signal();
  #changes = 0;
  #isSending = false;

  constructor(c: Coordinator, homes: Homes, link: () => PeerLink | undefined) {
    this.#c = c;
    this.#homes = homes;
    this.#link = link;
  }

  /** A commit has changed files; resolves when the coordinator knows. */
  async committed(inos: readonly number[]): Promise<void> {
    const change = ++this.#changes;
    for (const ino of inos) {
      this.#mark(ino, change);
      this.#homes.positions.setUntold(ino, true);
    }
    this.#pump();
    for (const ino of inos) await this.#known(ino, change);
  }

  /** Resolves when the coordinator knows all that was done to a file. */
  settled(ino: number): Promise<void> {
    return this.#known(ino, this.#changes);
  }

  /** The same of all files. */
  async allSettled(): Promise<void> {
    const change = this.#changes;
    for (const ino of [...this.#unsent.keys()]) await this.#known(ino, change);
  }

  /** What the coordinator says of a file is not what is here: it was told of that in vain, or not at all. */
  isOther(ino: number): void {
    if (this.#homes.positions.isUntold(ino)) return;
    this.#mark(ino, ++this.#changes);
    this.#homes.positions.setUntold(ino, true);
    this.#pump();
  }

  #mark(ino: number, change: number): void {
    const unsent = this.#unsent.get(ino);
    if (unsent === undefined) this.#unsent.set(ino, { last: change, known: 0, refused: undefined });
    else unsent.last = change;
    this.#later.delete(ino);
  }

  async #known(ino: number, change: number): Promise<void> {
    const endMs = performance.now() + heldUpMs;
    let awayMs = performance.now() + defaultLease.leaseMs;
    for (let unsent = this.#unsent.get(ino); unsent !== undefined; unsent = this.#unsent.get(ino)) {
      const { known, last, refused } = unsent;
      if (known >= Math.min(change, last)) return;
      if (refused !== undefined && refused.last >= Math.min(change, last)) throw refused.reason;
      const nowMs = performance.now();
      if (this.#link() !== undefined) awayMs = nowMs + defaultLease.leaseMs;
      if (nowMs >= awayMs)
        throw new FsError('ECONNRESET', 'commit', { why: 'the coordinator cannot be reached' });
      if (nowMs >= endMs)
        throw new FsError('ETIMEDOUT', 'commit', { why: 'the coordinator does not answer that it has it' });
      await this.#sent.next(Math.min(awayMs, endMs, nowMs + lookMs) - nowMs);
    }
  }

  /** The coordinator says when a file was changed. */
  heard(ino: number, mtimeMs: number): void {
    this.#mtimes.set(ino, mtimeMs);
  }

  forget(ino: number): void {
    this.#homes.positions.setUntold(ino, false);
    this.#mtimes.delete(ino);
  }

  /** A link is up: the coordinator may lack anything. */
  sendAll(): void {
    const limit = this.#c.writer.inodeLimit;
    const change = ++this.#changes;
    for (let ino = 1; ino < limit; ino++) if (this.#homes.isOwn(ino)) this.#mark(ino, change);
    this.#pump();
  }

  close(): void {
    clearTimeout(this.#retry);
  }

  #pump(): void {
    const link = this.#link();
    if (this.#isSending || link === undefined) return;
    const files = [...this.#unsent].filter(([ino]) => !this.#later.has(ino)).slice(0, batchFiles);
    if (files.length === 0) return;
    this.#isSending = true;
    const batch = this.#fitting(files.map(([ino, { last }]) => ({ ino, last })));
    this.#send(link, batch).then(
      (refused) => this.#hasSent(batch, refused),
      (error: unknown) => {
        this.#isSending = false;
        // Over the next link everything is sent again.
        if (link.closed === undefined && this.#failures === 0 && !hasStopped(error))
          this.#c.hub.report(error);
        this.#sendLater();
      },
    );
  }

  /** As many as one message has room for, at least one. */
  #fitting(files: readonly Sent[]): Sent[] {
    const inode = new InodeCopy();
    let bytes = 0;
    return files.filter(({ ino }, i) => {
      const { extentCount } = readInode(this.#c.journal.published, ino, inode) ? inode : { extentCount: 0 };
      bytes += fileBytes + bytesOfRuns(extentCount);
      return i === 0 || bytes <= partBytes;
    });
  }

  #hasSent(batch: readonly Sent[], refused: readonly PeerRefusal[]): void {
    this.#isSending = false;
    for (const { ino, last } of batch) {
      const unsent = this.#unsent.get(ino);
      const refusal = refused.find((each) => each.ino === ino);
      if (unsent !== undefined && refusal !== undefined) this.#wasRefused(unsent, last, refusal);
      else if (unsent?.last === last) this.#isSettled(ino);
      else if (unsent !== undefined) Object.assign(unsent, { known: last, refused: undefined });
    }
    if (refused.length === 0) this.#failures = 0;
    else this.#sendLater();
    this.#sent.notify();
    this.#homes.lent?.lookAgain();
    this.#pump();
  }

  #isSettled(ino: number): void {
    this.#unsent.delete(ino);
    this.#homes.positions.setUntold(ino, false);
  }

  #wasRefused(unsent: Unsent, last: number, { ino, code, why }: PeerRefusal): void {
    const reason = new FsError(code as ErrorCode, 'commit', { why });
    if (unsent.refused === undefined) this.#c.hub.report(reason);
    unsent.refused = { last, reason };
    // Others may never know it as it is: they have what they can.
    this.#homes.positions.setUntold(ino, false);
    if (unsent.last === last) this.#later.add(ino);
  }

  #sendLater(): void {
    if (this.#retry !== undefined) return;
    const waitMs = backoffMs[Math.min(this.#failures++, backoffMs.length - 1)];
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#later.clear();
      this.#pump();
    }, waitMs);
    this.#retry.unref();
  }

  async #send(link: PeerLink, batch: readonly Sent[]): Promise<readonly PeerRefusal[]> {
    const files: PeerContent[] = [];
    const refused: PeerRefusal[] = [];
    for (const { ino } of batch) {
      const row = inodeRow(this.#c.journal.published, ino);
      if (row === undefined || !isFile(row.mode) || !this.#homes.isOwn(ino)) continue;
      const { generation, size, mtimeMs, ctimeMs, extents } = row;
      // What the coordinator gave it, somebody may have changed there meanwhile.
      const isTouched = this.#mtimes.get(ino) !== mtimeMs;
      const times = isTouched ? { mtimeMs, ctimeMs } : { mtimeMs: undefined, ctimeMs: undefined };
      const pages = pagesOf(extents);
      if (pages.length > mostPageRuns) refused.push({ ino, code: 'EFBIG', why: 'it has too many holes' });
      else files.push({ ino, generation, size, ...times, pages });
    }
    if (files.length > 0) refused.push(...(await link.request('content', { files })).reply.refused);
    return refused;
  }
}

interface Sent {
  readonly ino: number;
  readonly last: number;
}
