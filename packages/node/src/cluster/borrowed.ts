/**
 * Blocks of the home's files that this node has: its cache (coherence.md), bound to the memory of its
 * processes; STags; read-ahead; and what goes when memory is scarce.
 */
import { type Extent, FsError, type Hole, type Request, type Spinner } from '@cluster-fs/transport';
import type { AnyPeerEvent } from '@cluster-fs/transport/peer';
import {
  type CacheState,
  carriesBytes,
  defaultLease,
  Holder,
  type HolderFrame,
  toCacheNames,
  toDirectoryPlaces,
} from 'cluster-fs/coherence';
import { InodeCopy, isAbsent, pageSize, readInode } from 'cluster-fs/segment';
import { pagesFor } from '../coordinator/content.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Access, Blocks, FileId } from '../coordinator/elsewhere.ts';
import { changeExtents, showGrown } from '../coordinator/remap.ts';
import { clip, merge } from '../coordinator/runs.ts';
import type { Session, View } from '../coordinator/session.ts';
import type { Range } from '../store/stored.ts';
import { BlockMemory } from './block-memory.ts';
import { blockOf, blocksIn, indexOf, inoOf, rangeOf } from './blocks.ts';
import type { CacheBudget } from './cache-budget.ts';
import type { Line } from './line.ts';
import type { Relaid } from './replica.ts';

/** A sequential reader is ahead of its touches by up to this many blocks. */
const maxAheadBlocks = 64;
const tickMs = 50;
/** How long a request waits for a block. Who touches one waits on. */
const requestMs = 30_000;
const giveUpPollMs = 5;
/** How often files that nobody uses any more are looked for. */
const sweepMs = 1000;

const readable: ReadonlySet<CacheState> = new Set(['S', 'SE', 'E']);

/** The rights to a file. */
interface FileTags {
  readonly generation: number;
  r: Promise<Uint8Array> | undefined;
  rw: Promise<Uint8Array> | undefined;
  /** The strongest that has come. */
  stag: Uint8Array | undefined;
  /** How many are asked for: they are wanted. */
  asking: number;
}

/** Where the last touches of a file went. */
interface Stream {
  next: number;
  ahead: number;
}

interface BorrowedOptions {
  readonly budget: CacheBudget;
  /** Of this thread. */
  readonly spinner: Spinner;
  /** What requests fail with while the home is away for longer than a lease. */
  readonly unreachable: () => FsError;
}

export class Borrowed implements Blocks {
  readonly opening = undefined;
  readonly #c: Coordinator;
  readonly #line: Line;
  readonly #spinner: Spinner;
  readonly #memory: BlockMemory;
  readonly #holder: Holder<Buffer>;
  readonly #tags = new Map<number, FileTags>();
  readonly #inoByTag = new Map<string, number>();
  /** STags that are being given back. */
  readonly #closing = new Set<string>();
  readonly #streams = new Map<number, Stream>();
  /** Blocks that are here, the oldest first, and their pages. */
  readonly #resident = new Map<number, number>();
  readonly #timers: NodeJS.Timeout[];
  readonly #budget: CacheBudget;
  readonly #unreachable: () => FsError;
  /** Until requests fail, while there is no link. */
  #away: NodeJS.Timeout | undefined;
  #isAway = false;
  #residentPages = 0;
  #session: number | undefined;
  #fetched = 0;
  #faults = 0;
  #lost = 0;

  constructor(c: Coordinator, line: Line, { budget, spinner, unreachable }: BorrowedOptions) {
    this.#c = c;
    this.#line = line;
    this.#spinner = spinner;
    this.#budget = budget;
    this.#unreachable = unreachable;
    this.#memory = new BlockMemory(c, {
      done: (block, bytes) => this.#holder.done(block, bytes),
      dropped: (block) => this.#forget(block),
      installed: (block, pages) => this.#arrived(block, pages),
      lost: (block) => {
        this.#lost++;
        const detail = { ino: inoOf(block), offset: rangeOf(block).from * pageSize };
        c.hub.emit('lost', undefined, detail);
      },
    });
    this.#holder = new Holder(
      { nowMs: () => performance.now(), send: (frame) => this.#send(frame), memory: this.#memory },
      { times: defaultLease },
    );
    this.#timers = [
      setInterval(() => this.#holder.tick(), tickMs),
      setInterval(() => this.#sweep(), sweepMs),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  get report() {
    return {
      cachedBytes: this.#residentPages * pageSize,
      fetchedBlocks: this.#fetched,
      faults: this.#faults,
      lostBlocks: this.#lost,
      stags: this.#inoByTag.size,
    };
  }

  close(): void {
    clearTimeout(this.#away);
    for (const timer of this.#timers) clearInterval(timer);
    this.#memory.close();
  }

  linkUp(): void {
    clearTimeout(this.#away);
    this.#away = undefined;
    this.#isAway = false;
    this.#holder.linkUp();
  }

  linkDown(): void {
    this.#holder.linkDown();
    // As long as the lease lasts the link may come back, and nothing is lost.
    this.#away = setTimeout(() => {
      this.#isAway = true;
      this.#memory.failRequests(this.#unreachable());
    }, defaultLease.leaseMs);
    this.#away.unref();
  }

  /** Throws when the home breaks the protocol. */
  receive(event: AnyPeerEvent): void {
    switch (event.name) {
      case 'blockWelcome':
        if (this.#session !== event.fields.session) this.#forgetTags();
        this.#session = event.fields.session;
        this.#holder.receive({ kind: 'welcome', ...event.fields });
        for (const key of this.#closing)
          this.#line.current?.event('tagClose', { stag: Buffer.from(key, 'latin1') });
        return;
      case 'tagClosed': {
        const { stag } = event.fields;
        this.#closing.delete(keyOf(stag));
        this.#inoByTag.delete(keyOf(stag));
        this.#line.current?.event('tagGone', { stag });
        return;
      }
      case 'blockPong':
        this.#holder.receive({ kind: 'pong', ...event.fields });
        return;
      case 'toHolder': {
        const { number, received, stag, index, message } = event.fields;
        const ino = this.#inoByTag.get(keyOf(stag));
        const name = toCacheNames[message];
        if (ino === undefined || name === undefined)
          throw new FsError('EPROTO', 'blocks', { why: `${message} of a file that is not known` });
        const bytes = event.payload === undefined ? nothing : asBuffer(event.payload);
        const said = { block: blockOf(ino, index), name, ...(carriesBytes.has(name) ? { bytes } : {}) };
        this.#holder.receive({ kind: 'message', envelope: { number, received, message: said } });
        // Who touches one block goes on to touch others.
        this.#spinner.expect();
        return;
      }
      default:
        throw new FsError('EPROTO', event.name, { why: 'not for a node that joined' });
    }
  }

  #send(frame: HolderFrame<Buffer>): void {
    const link = this.#line.current;
    if (link === undefined) return;
    if (frame.kind === 'hello') link.event('blockHello', frame);
    else if (frame.kind === 'ping') link.event('blockPing', frame);
    else {
      const { number, received, message } = frame.envelope;
      const { block, name, bytes } = message;
      const stag = this.#tags.get(inoOf(block))?.stag ?? this.#closingTag(inoOf(block));
      if (stag === undefined) throw new Error(`a block of inode ${inoOf(block)} without an STag`);
      const fields = { number, received, stag, index: indexOf(block), message: toDirectoryPlaces[name] };
      link.event('toHome', fields, bytes === undefined ? {} : { payload: bytes });
    }
  }

  /** What crosses the return of an STag is answered with it. */
  #closingTag(ino: number): Uint8Array | undefined {
    for (const key of this.#closing) if (this.#inoByTag.get(key) === ino) return Buffer.from(key, 'latin1');
    return undefined;
  }

  /** STags end with the session. */
  #forgetTags(): void {
    this.#tags.clear();
    this.#inoByTag.clear();
    this.#closing.clear();
  }

  async #tag(ino: number, mode: 'r' | 'rw'): Promise<void> {
    const inode = new InodeCopy();
    if (!readInode(this.#c.segment, ino, inode))
      throw new FsError('ESTALE', 'stag', { why: `inode ${ino} is gone` });
    const { generation } = inode;
    let tags = this.#tags.get(ino);
    if (tags?.generation !== generation) {
      tags = { generation, r: undefined, rw: undefined, stag: undefined, asking: 0 };
      this.#tags.set(ino, tags);
    }
    const isThere = tags.rw ?? (mode === 'r' ? tags.r : undefined);
    if (isThere !== undefined) {
      await isThere;
      return;
    }
    const asking = this.#ask(ino, tags, mode);
    tags[mode] = asking;
    tags.asking++;
    try {
      await asking;
    } catch (error) {
      tags[mode] = undefined;
      throw error;
    } finally {
      tags.asking--;
    }
  }

  async #ask(ino: number, tags: FileTags, mode: 'r' | 'rw'): Promise<Uint8Array> {
    const link = await this.#line.link();
    const { generation } = tags;
    const { reply } = await link.request('tagOpen', { ino, generation, mode });
    this.#inoByTag.set(keyOf(reply.stag), ino);
    if (mode === 'rw' || tags.stag === undefined) tags.stag = reply.stag;
    return reply.stag;
  }

  /** Files that nobody here uses, and of which nothing is here, are given back. */
  #sweep(): void {
    if (!this.#holder.isIn) return;
    const used = new Set<number>();
    for (const block of this.#holder.cache.blocks.keys()) used.add(inoOf(block));
    const inode = new InodeCopy();
    for (const [ino, { asking }] of this.#tags) {
      if (asking > 0 || this.#c.references.has(ino)) continue;
      const isThere = readInode(this.#c.segment, ino, inode) && inode.nlink > 0;
      if (!used.has(ino)) this.#giveBack(ino);
      else if (!isThere) this.evict(ino);
    }
  }

  #giveBack(ino: number): void {
    const link = this.#line.current;
    if (link === undefined) return;
    this.#tags.delete(ino);
    this.#streams.delete(ino);
    for (const [key, of] of this.#inoByTag) {
      if (of !== ino || this.#closing.has(key)) continue;
      this.#closing.add(key);
      link.event('tagClose', { stag: Buffer.from(key, 'latin1') });
    }
  }

  evict(ino: number): void {
    for (const block of [...this.#holder.cache.blocks.keys()])
      if (inoOf(block) === ino) this.#holder.evict(block);
  }

  /** Gives everything up; resolves when it is at home, or when that takes too long. */
  async giveUp(): Promise<void> {
    const { blocks } = this.#holder.cache;
    for (const block of [...blocks.keys()]) this.#holder.evict(block);
    const endMs = performance.now() + defaultLease.leaseMs;
    while (blocks.size > 0 && performance.now() < endMs)
      await new Promise((goOn) => setTimeout(goOn, giveUpPollMs));
  }

  #arrived(block: number, pages: number): void {
    this.#fetched++;
    this.#forget(block);
    this.#resident.set(block, pages);
    this.#residentPages += pages;
    this.#budget.usedPages += pages;
    let left = this.#budget.surplusPages;
    for (const [old, oldPages] of this.#resident) {
      if (left <= 0) return;
      if (old === block) continue;
      left -= oldPages;
      setImmediate(() => this.#holder.evict(old));
    }
  }

  #forget(block: number): void {
    const pages = this.#resident.get(block);
    if (pages === undefined) return;
    this.#resident.delete(block);
    this.#residentPages -= pages;
    this.#budget.usedPages -= pages;
  }

  #state(block: number): CacheState {
    return this.#holder.cache.state(block);
  }

  #may(block: number, access: Access): boolean {
    const state = this.#state(block);
    return (access === 'write' ? state === 'E' : readable.has(state)) && !this.#hasHole(block);
  }

  /** Whether the file has got pages in the block since it came. */
  #hasHole(block: number): boolean {
    const { from, count } = rangeOf(block);
    const s = this.#c.journal.published;
    for (const extent of clip(this.#c.extents(inoOf(block)), from, count))
      for (let page = extent.page; page < extent.page + extent.count; page++)
        if (isAbsent(s, page)) return true;
    return false;
  }

  #want(block: number, access: Access): void {
    const isOld = readable.has(this.#state(block)) && this.#hasHole(block);
    if (isOld) this.#holder.evict(block);
    this.#holder.fault(block, access);
  }

  async open({ ino }: FileId, { mode, follow }: Pick<Request<'lease'>, 'mode' | 'follow'>, session: Session) {
    if (follow === 'manual')
      throw new FsError('ENOTSUP', 'map', { why: 'views of files of another node are live' });
    if (session.userfault === undefined)
      throw new FsError('ENOTSUP', 'map', { why: 'pinned clients cannot map files of another node' });
    await this.#tag(ino, mode);
  }

  watch(view: View): void {
    if (view.mode === 'r') return;
    const blocks = blocksIn(view.ino, { from: view.from, count: view.pages });
    this.#memory.guard(
      view,
      blocks.filter((block) => readable.has(this.#state(block)) && this.#state(block) !== 'E'),
    );
  }

  holds(ino: number, range: Range, access: Access): boolean {
    return blocksIn(ino, range).every((block) => this.#may(block, access));
  }

  async acquire(ino: number, range: Range, access: Access): Promise<void> {
    const inode = new InodeCopy();
    for (;;) {
      if (!readInode(this.#c.segment, ino, inode)) return;
      const count = Math.min(range.count, pagesFor(inode.size) - range.from);
      const blocks = blocksIn(ino, { from: range.from, count: Math.max(0, count) });
      const lacking = blocks.filter((block) => !this.#may(block, access));
      if (lacking.length === 0) return;
      if (this.#isAway) throw this.#unreachable();
      await this.#tag(ino, access === 'write' ? 'rw' : 'r');
      await Promise.all(
        lacking.map((block) => {
          const changed = this.#memory.changed(block, requestMs);
          // Whoever fails before all of them are awaited has failed for another reason.
          changed.catch(() => undefined);
          this.#want(block, access);
          return changed;
        }),
      );
    }
  }

  fault(view: View, filePage: number, access: Access): boolean {
    const { ino } = view;
    const [block = 0] = blocksIn(ino, { from: filePage, count: 1 });
    if (clip(this.#c.extents(ino), filePage, 1).length === 0) return false;
    this.#faults++;
    if (this.#may(block, access)) {
      // It came while the fault was on its way.
      this.#memory.wake(block);
      return true;
    }
    const ahead = access === 'read' ? this.#ahead(ino, indexOf(block)) : 1;
    this.#tag(ino, view.mode).then(
      () => {
        this.#want(block, access);
        for (let i = 1; i < ahead; i++) this.#prefetch(block + i);
        this.#spinner.expect();
      },
      (error: unknown) => {
        this.#c.hub.report(error);
        this.#memory.fail(block);
      },
    );
    return true;
  }

  #prefetch(block: number): void {
    if (this.#state(block) !== 'I' || !this.#hasHole(block)) return;
    this.#holder.fault(block, 'read');
  }

  #ahead(ino: number, index: number): number {
    const stream = this.#streams.get(ino) ?? { next: -1, ahead: 1 };
    // On its way already.
    if (index >= stream.next - stream.ahead && index < stream.next) return 1;
    stream.ahead = stream.next === index ? Math.min(maxAheadBlocks, stream.ahead * 2) : 1;
    stream.next = index + stream.ahead;
    this.#streams.set(ino, stream);
    return stream.ahead;
  }

  hold(): void {
    // The home holds.
  }

  release(): void {
    // The home does.
  }

  isShared(): boolean {
    return true;
  }

  isWritten(): boolean {
    return false;
  }

  sharedFiles(): Iterable<number> {
    return [];
  }

  /**
   * A file that is mapped has other pages than before. What became a hole is one in the views at once; what
   * is new is fetched first: it is not registered in the moment when it is mapped.
   */
  relay({ ino, lost, gained, size }: Relaid, extents: readonly Extent[]): void {
    const c = this.#c;
    let now: readonly Extent[] = c.extents(ino);
    for (const { filePage, count } of lost) {
      now = without(now, { filePage, count });
      changeExtents(c, ino, now, { cause: 'punch', from: filePage, count, size });
    }
    for (const { filePage, count } of gained) now = merge(now, clip(extents, filePage, count));
    changeExtents(c, ino, now, { cause: 'grow', from: pagesFor(size), count: 0, size });
    for (const { filePage, count } of gained)
      this.#showGained(ino, { from: filePage, count }).catch((error: unknown) => c.hub.report(error));
  }

  async #showGained(ino: number, range: Range): Promise<void> {
    const c = this.#c;
    const views = [...c.viewsOf(ino)].filter(
      (view) => view.from < range.from + range.count && range.from < view.from + view.pages,
    );
    if (views.length === 0) return;
    const access = views.some(({ mode }) => mode === 'rw') ? 'write' : 'read';
    await c.journal.nextFlush();
    do await this.acquire(ino, range, access);
    while (!this.holds(ino, clipToSize(c, ino, range), access));
    for (const view of c.viewsOf(ino)) showGrown(c, view, range);
  }
}

const nothing = Buffer.alloc(0);
const keyOf = (stag: Uint8Array): string => Buffer.from(stag).toString('latin1');
const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

function clipToSize(c: Coordinator, ino: number, { from, count }: Range): Range {
  const inode = new InodeCopy();
  const pages = readInode(c.segment, ino, inode) ? pagesFor(inode.size) : 0;
  return { from, count: Math.max(0, Math.min(count, pages - from)) };
}

const without = (extents: readonly Extent[], { filePage, count }: Hole): Extent[] => [
  ...clip(extents, 0, filePage),
  ...clip(extents, filePage + count, Number.MAX_SAFE_INTEGER / 2),
];
