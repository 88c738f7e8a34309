/**
 * What a node did to the files that it keeps, on its way to the coordinator: their sizes, times, and which
 * pages they have. A change is answered when the coordinator has committed it and every node knows it.
 *
 *   committed here ──▶ waits ──sent, with all that came meanwhile──▶ committed there ──▶ answered
 *                        ▲────────────── the link broke ──────────────┘
 *
 * Only the last state of a file is sent: what is sent again does no harm.
 */
import { FsError } from '@cluster-fs/transport';
import type { PeerContent, PeerLink } from '@cluster-fs/transport/peer';
import { defaultLease } from 'cluster-fs/coherence';
import { isFile } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { inodeRow } from '../coordinator/journal.ts';
import { Signal } from '../coordinator/signal.ts';
import type { Homes } from './homes.ts';
import { pagesOf } from './rows.ts';

/** Files in one message. */
const batchFiles = 512;

export class OwnContent {
  readonly #c: Coordinator;
  readonly #homes: Homes;
  readonly #link: () => PeerLink | undefined;
  /** Files whose state the coordinator may not have: the last change of each, and the last that it knows. */
  readonly #unsent = new Map<number, { last: number; known: number }>();
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
    for (const ino of inos) this.#mark(ino, change);
    this.#pump();
    for (const ino of inos) await this.#known(ino, change);
  }

  /** Resolves when the coordinator knows all that was done to a file. */
  settled(ino: number): Promise<void> {
    return this.#known(ino, this.#changes);
  }

  #mark(ino: number, change: number): void {
    const unsent = this.#unsent.get(ino);
    if (unsent === undefined) this.#unsent.set(ino, { last: change, known: 0 });
    else unsent.last = change;
  }

  async #known(ino: number, change: number): Promise<void> {
    const endMs = performance.now() + defaultLease.leaseMs;
    for (let unsent = this.#unsent.get(ino); unsent !== undefined; unsent = this.#unsent.get(ino)) {
      if (unsent.known >= Math.min(change, unsent.last)) return;
      const leftMs = endMs - performance.now();
      if (leftMs <= 0)
        throw new FsError('ECONNRESET', 'commit', { why: 'the coordinator cannot be reached' });
      await this.#sent.next(leftMs);
    }
  }

  /** The coordinator says when a file was changed. */
  heard(ino: number, mtimeMs: number): void {
    this.#mtimes.set(ino, mtimeMs);
  }

  forget(ino: number): void {
    this.#mtimes.delete(ino);
  }

  /** A link is up: the coordinator may lack anything. */
  sendAll(): void {
    const limit = this.#c.writer.inodeLimit;
    const change = ++this.#changes;
    for (let ino = 1; ino < limit; ino++) if (this.#homes.isOwn(ino)) this.#mark(ino, change);
    this.#pump();
  }

  #pump(): void {
    const link = this.#link();
    if (this.#isSending || this.#unsent.size === 0 || link === undefined) return;
    this.#isSending = true;
    this.#send(link).then(
      () => {
        this.#isSending = false;
        this.#sent.notify();
        this.#pump();
      },
      (error: unknown) => {
        this.#isSending = false;
        // Over the next link everything is sent again.
        if (link.closed === undefined) this.#c.hub.report(error);
      },
    );
  }

  async #send(link: PeerLink): Promise<void> {
    const batch = [...this.#unsent].slice(0, batchFiles).map(([ino, { last }]) => ({ ino, last }));
    const files: PeerContent[] = [];
    for (const { ino } of batch) {
      const row = inodeRow(this.#c.journal.published, ino);
      if (row === undefined || !isFile(row.mode) || !this.#homes.isOwn(ino)) continue;
      const { generation, size, mtimeMs, ctimeMs, extents } = row;
      // What the coordinator gave it, somebody may have changed there meanwhile.
      const isTouched = this.#mtimes.get(ino) !== mtimeMs;
      const times = isTouched ? { mtimeMs, ctimeMs } : { mtimeMs: undefined, ctimeMs: undefined };
      files.push({ ino, generation, size, ...times, pages: pagesOf(extents) });
    }
    if (files.length > 0) await link.request('content', { files });
    for (const { ino, last } of batch) {
      const unsent = this.#unsent.get(ino);
      if (unsent?.last === last) this.#unsent.delete(ino);
      else if (unsent !== undefined) unsent.known = last;
    }
  }
}
