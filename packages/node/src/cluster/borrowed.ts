/**
 * Blocks of the home's files that this node has: its cache (coherence.md), bound to the memory of its
 * processes; STags; read-ahead; and what goes when memory is scarce.
 */
import { FsError, type Request, type Spinner } from '@cluster-fs/transport';
import type { AnyPeerEvent, PeerRequest } from '@cluster-fs/transport/peer';
import {
  type CacheState,
  defaultLease,
  type HeldTags,
  Holder,
  type HolderFrame,
  type Position,
  type Progress,
  readable,
  type Taken,
} from 'cluster-fs/coherence';
import { hasAbsent, InodeCopy, pageSize, readInode } from 'cluster-fs/segment';
import { pagesFor } from '../coordinator/content.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { type Access, type FileBlocks, type FileId, moved } from '../coordinator/elsewhere.ts';
import { clip } from '../coordinator/runs.ts';
import type { Session, View } from '../coordinator/session.ts';
import type { Range } from '../store/stored.ts';
import { BlockMemory, extentsIn, requestMs } from './block-memory.ts';
import { blockAt, blockOf, blocksIn, indexOf, inoOf, rangeOf } from './blocks.ts';
import type { CacheBudget } from './cache-budget.ts';
import { assertMayMap, type Copies } from './copies.ts';
import { filesToKeep, letStore } from './files-to-keep.ts';
import { giveUpBlocks } from './giving-up.ts';
import { heldTagsOf } from './held-tags.ts';
import { HolderWire } from './holder-wire.ts';
import { HomeLoss } from './home-loss.ts';
import { IdleFiles } from './idle-files.ts';
import { pagesByBlock } from './layout.ts';
import { Leaving } from './leaving.ts';
import type { Line } from './line.ts';
import { hostNowMs } from './published-leases.ts';
import { ReadAhead } from './read-ahead.ts';
import { Resident } from './resident.ts';
import { hasStopped } from './stopping.ts';

const tickMs = 50;

/** Bytes leave with what is said next. */
const stored: ReadonlySet<CacheState> = new Set(['ES', 'EI', 'EV']);

interface BorrowedOptions {
  readonly budget: CacheBudget;
  /** Of this thread. */
  readonly spinner: Spinner;
  /** What requests fail with while the home is away for longer than a lease. */
  readonly unreachable: () => FsError;
  /** What the home has called its memory, also to a node of before. */
  readonly memory: { name: string | undefined };
  /** The home is there again, and has of its files what it had synced. */
  readonly lostMemory: () => void;
  /** Whether that node is the home of the file still. */
  readonly isHome: (ino: number) => boolean;
  /** The bytes of a block are taken from `data` in a moment. */
  readonly dropping: (block: number, bytes: () => Buffer) => void;
  readonly copies: () => Copies | undefined;
  /** How far this node is in the changes of the coordinator. */
  readonly position: () => Position | undefined;
}

export class Borrowed implements FileBlocks {
  readonly #c: Coordinator;
  readonly #line: Line;
  readonly #spinner: Spinner;
  readonly #memory: BlockMemory;
  readonly #holder: Holder<Buffer>;
  readonly #tags: HeldTags<Uint8Array>;
  readonly #wire: HolderWire;
  readonly leaving: Leaving;
  readonly #readAhead = new ReadAhead();
  readonly resident: Resident;
  readonly #timer: NodeJS.Timeout;
  readonly #idle: IdleFiles;
  readonly #isHome: (ino: number) => boolean;
  readonly #copies: BorrowedOptions['copies'];
  /** Files that this node is about to keep. */
  readonly taken: Taken<Buffer>;
  /** Until requests fail, while there is no link. */
  #away: NodeJS.Timeout | undefined;
  readonly #loss: HomeLoss;
  #held: (untilMs: number | undefined) => void = () => undefined;
  #session: number | undefined;
  /** The end of the last lease: long ago, when there was none. */
  #saidUntilMs = 1;
  #fetched = 0;
  #faults = 0;
  #lost = 0;

  constructor(c: Coordinator, line: Line, options: BorrowedOptions) {
    const { budget, spinner, unreachable, memory, lostMemory, isHome, dropping, copies, position } = options;
    this.#c = c;
    this.#line = line;
    this.#spinner = spinner;
    this.resident = new Resident({
      budget,
      mayGo: (block) => !this.taken.has(inoOf(block)),
      evict: (block) => {
        if (copies()?.has(block) !== true || this.#state(block) !== 'S') this.#holder.evict(block);
        else if (this.#memory.forgetBytes(block)) this.resident.forget(block);
      },
    });
    this.#isHome = isHome;
    this.#copies = copies;
    const holder = () => this.#holder;
    this.#tags = heldTagsOf(c.segment, line, holder, () => this.#session);
    this.#wire = new HolderWire(this.#tags, position, () => this.#session);
    const isHere = (block: number): boolean => this.#state(block) !== 'I';
    this.#loss = new HomeLoss({ c, isHome, memory, lostMemory, unreachable, isHere });
    this.#memory = new BlockMemory(c, {
      done: (block, bytes) => {
        this.#holder.done(block, bytes);
        this.#sayHeld();
      },
      dropping,
      isWanted: (block) => stored.has(this.#holder.cache.state(block)),
      dropped: (block) => {
        this.resident.forget(block);
        copies()?.left(block);
      },
      installed: (block, pages) => this.#arrived(block, pages),
      memoryFor: (length) => Buffer.allocUnsafeSlow(length),
      storable: (block) => {
        c.losses.unsaved?.set(inoOf(block));
        copies()?.left(block);
      },
      lost: (block) => {
        this.#lost++;
        c.losses.file(inoOf(block));
        c.hub.emit('lost', undefined, { ino: inoOf(block), offset: rangeOf(block).from * pageSize });
      },
    });
    this.#holder = new Holder(
      { nowMs: hostNowMs, send: (frame) => this.#send(frame), memory: this.#memory },
      { times: defaultLease },
    );
    this.taken = filesToKeep({
      c,
      holder,
      tags: this.#tags,
      memory: this.#memory,
      may: (block, access) => this.#may(block, access),
      ask: (block, access) => this.#ask(block, access),
      session: () => this.session,
      assertReachable: () => this.#loss.assertThere(),
    });
    this.leaving = new Leaving(this, isHome);
    this.#timer = setInterval(() => this.#tick(), tickMs);
    this.#timer.unref();
    this.#idle = new IdleFiles({
      c,
      at: this,
      holder: this.#holder,
      idle: () => this.#tags.idle(),
    });
  }

  #tick(): void {
    this.#holder.tick();
    this.#holder.retryMoved();
    this.leaving.look();
    this.#sayHeld();
  }

  /** `held` hears until when blocks may be used, on the clock of the host; undefined: there are none. */
  onHeld(held: (untilMs: number | undefined) => void): void {
    this.#held = held;
    this.#sayHeld();
  }

  /** While copies are given up that nobody may use any more, what was said last is over. */
  #sayHeld(): void {
    if (this.#holder.isFencing) return;
    const untilMs = this.taken.hasOutlived ? this.#saidUntilMs : this.#holder.heldUntilMs;
    this.#saidUntilMs = untilMs ?? this.#saidUntilMs;
    this.#held(untilMs);
  }

  get report() {
    return {
      cachedBytes: this.resident.pages * pageSize,
      fetchedBlocks: this.#fetched,
      faults: this.#faults,
      lostBlocks: this.#lost,
      stags: this.#tags.count,
    };
  }

  close(): void {
    clearTimeout(this.#away);
    clearInterval(this.#timer);
    this.#idle.close();
    this.#memory.close();
  }

  linkUp(): void {
    clearTimeout(this.#away);
    this.#holder.linkUp();
    this.#loss.back();
  }

  linkDown(): void {
    this.#holder.linkDown();
    // As long as the lease lasts the link may come back, and nothing is lost.
    this.#away = setTimeout(() => {
      this.#loss.away(this.#holder.waiting);
      this.#memory.failRequests(this.#loss.unreachable());
    }, defaultLease.leaseMs);
    this.#away.unref();
  }

  /** Throws an FsError when the home breaks the protocol. */
  receive(event: AnyPeerEvent): void {
    try {
      this.#receive(event);
    } catch (error) {
      throw error instanceof FsError ? error : new FsError('EPROTO', 'blocks', { why: `${error}` });
    }
  }

  #receive(event: AnyPeerEvent): void {
    switch (event.name) {
      case 'blockWelcome': {
        const { memory, ...fields } = event.fields;
        const welcome = { kind: 'welcome', ...fields } as const;
        if (!this.#holder.awaits(welcome)) return;
        this.#loss.hears(memory);
        if (this.#session !== welcome.session) this.#tags.forget();
        this.#session = welcome.session;
        this.#holder.receive(welcome);
        this.#sayHeld();
        this.#tags.closeAgain();
        this.wentOn();
        return;
      }
      case 'tagClosed':
        this.#tags.closed(event.fields.stag);
        return;
      case 'blockPong':
        this.#holder.receive({ kind: 'pong', ...event.fields });
        this.#sayHeld();
        return;
      case 'toHolder': {
        const { ino, envelope } = this.#wire.heard(event);
        // Who gave the file away goes on as its home.
        if (this.taken.isPrepared(ino)) this.taken.reattach(ino);
        this.#holder.receive({ kind: 'message', envelope });
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
    if (link !== undefined) this.#wire.send(link, frame);
  }

  /** This node knows more of the changes: the home may wait for that with what was asked for. */
  wentOn(): void {
    const isAwaited = this.taken.isAny || this.#holder.asked.size + this.leaving.count > 0;
    const link = isAwaited ? this.#line.current : undefined;
    if (link !== undefined) this.#wire.sayPosition(link);
  }

  giveBack(ino: number): void {
    this.#tags.giveBack(ino);
    this.#readAhead.forget(ino);
  }

  evict(ino: number): void {
    for (const block of [...this.#holder.cache.blocks.keys()])
      if (inoOf(block) === ino) this.#holder.evict(block);
  }

  /** Fetches a file that this node is to keep, until `isTime`; how many of its blocks are here. */
  async bring(ino: number, isTime: () => boolean): Promise<Progress> {
    this.taken.begin(ino);
    letStore(this.#holder, this.#memory, ino);
    this.wentOn();
    await this.#tags.open(ino, 'take');
    return this.taken.fetch(ino, isTime);
  }

  /** The session that this node has there. */
  get session(): number | undefined {
    return this.#holder.isIn ? this.#session : undefined;
  }

  /** Resolves when it has one; ECONNRESET, or the like, when it does not get one in time. */
  enter(): Promise<number> {
    return this.#line.told(() => this.session);
  }

  /** Resolves when it is known whether the session of before goes on, and so what was lost with it. */
  async settled(): Promise<void> {
    await this.#line.told(() => this.#holder.isWelcome || undefined);
  }

  /** The number of what is asked there next that an STag is given for. */
  nextAsked(): number {
    return this.#tags.nextAsked();
  }

  /** What was asked under that number is of no use, and may have been given: then it is given back. */
  readonly disown = (asked: PeerRequest<'tagOpen'>): Promise<void> => this.#tags.disown(asked);
  readonly refuse = (ino: number, stag: Uint8Array): void => this.#tags.refuse(ino, stag);

  /** That node is the home of a file of ours from now on, where we keep these blocks to read. */
  adopt(ino: number, { stag, mode }: { stag: Uint8Array; mode: 'r' | 'rw' }, blocks: Iterable<number>): void {
    this.#tags.adopt(ino, mode, stag);
    const pages = pagesByBlock(this.#c, ino);
    for (const block of blocks) {
      this.#holder.adopt(block, 'S', this.#session ?? 0);
      this.resident.keep(block, pages.get(block) ?? 0);
    }
  }

  /** The file has another home: what is here of it is not from there any more. */
  abandon(ino: number): void {
    this.#tags.left(ino);
    this.taken.abandon(ino, (block) => {
      this.resident.forget(block);
      this.#memory.cancel(block);
    });
  }

  /** Sees to it that a file that is mapped here stays, and has pages where processes may store. */
  async keepOpen(ino: number): Promise<void> {
    const modes = [...this.#c.viewsOf(ino)].map(({ mode }) => mode);
    if (modes.length > 0) await this.#tags.open(ino, modes.includes('rw') ? 'rw' : 'r');
  }

  /** Blocks that may have been stored into since their home had them. */
  unsaved(): Iterable<number> {
    return this.#holder.unsaved();
  }

  giveUp(limitMs: number): Promise<void> {
    return giveUpBlocks(this.#holder, () => this.#line.current, limitMs);
  }

  #arrived(block: number, pages: number): void {
    this.#fetched++;
    this.taken.arrived(block);
    this.resident.keep(block, pages);
    // Pages of this node's own files make room, when it gets scarce.
    this.#c.evictor?.hasRoom(0);
  }

  #state(block: number): CacheState {
    return this.taken.copyOf(block) ?? this.#holder.cache.state(block);
  }

  #may(block: number, access: Access): boolean {
    const state = this.#state(block);
    return (access === 'write' ? state === 'E' : readable.has(state)) && !this.#hasHole(block);
  }

  /** Whether the file has got pages in the block since it came. */
  #hasHole(block: number): boolean {
    const s = this.#c.journal.published;
    return extentsIn(this.#c, block).some((run) => hasAbsent(s, run));
  }

  #want(block: number, access: Access): void {
    if (this.taken.isStanding(inoOf(block))) this.#holder.wait(block);
    else this.#ask(block, access);
  }

  #ask(block: number, access: Access): void {
    const isOld = readable.has(this.#state(block)) && this.#hasHole(block);
    if (isOld) this.#holder.evict(block);
    this.#holder.fault(block, access);
  }

  async open({ ino }: FileId, { mode, follow }: Pick<Request<'lease'>, 'mode' | 'follow'>, session: Session) {
    assertMayMap({ mode, follow }, session);
    await this.#tags.open(ino, mode);
  }

  watch(view: View): void {
    if (view.mode === 'r') return;
    const blocks = blocksIn(view.ino, { from: view.from, count: view.pages });
    this.#memory.guard(
      view,
      blocks.filter((block) => readable.has(this.#state(block)) && !this.#isStorable(block)),
    );
  }

  /** Whether who stores into the block need not wait first, for another node or for a copy of it. */
  #isStorable(block: number): boolean {
    return this.#state(block) === 'E' && this.#copies()?.has(block) !== true;
  }

  /** Whether a copy of the block can be made, and hears from here on of whatever becomes of it. */
  isStill(block: number): boolean {
    if (!this.#may(block, 'read')) return false;
    return this.#state(block) !== 'E' || (!this.taken.has(inoOf(block)) && this.#memory.holdStores(block));
  }

  holds(ino: number, range: Range, access: Access): boolean {
    return this.#blocksIn(ino, range).every((block) => this.#may(block, access));
  }

  /** None beyond the end of the file, wherever the range ends. */
  #blocksIn(ino: number, { from, count }: Range): number[] {
    const inode = new InodeCopy();
    const pages = readInode(this.#c.segment, ino, inode) ? pagesFor(inode.size) : 0;
    return blocksIn(ino, { from, count: Math.max(0, Math.min(count, pages - from)) });
  }

  async acquire(ino: number, range: Range, access: Access): Promise<void> {
    for (;;) {
      if (!readInode(this.#c.segment, ino, new InodeCopy())) return;
      if (!this.#isHome(ino)) throw moved('read');
      const lacking = this.#blocksIn(ino, range).filter((block) => !this.#may(block, access));
      if (lacking.length === 0) return;
      this.#loss.assertThere();
      const mode = access === 'write' ? 'rw' : 'r';
      await this.#tags.open(ino, mode);
      // In the turn of the answer the file may have got another home, and the right have been given back.
      if (!this.#tags.isOpen(ino, mode)) continue;
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
    const block = blockAt(ino, filePage);
    if (clip(this.#c.extents(ino), filePage, 1).length === 0) return false;
    this.#faults++;
    if (this.#may(block, access)) {
      // It came while the fault was on its way, or there is a copy of it.
      if (access === 'write') this.#memory.allow(block);
      this.#memory.wake(block);
      return true;
    }
    if (this.#loss.refuses(view, block)) return true;
    if (this.#tags.isOpen(ino, view.mode)) this.#touched(block, access);
    else
      this.#tags.open(ino, view.mode).then(
        () => this.#touched(block, access),
        (error: unknown) => {
          // The file has another home, or this one is away: the touch comes again.
          const { current } = this.#line;
          if (error instanceof FsError && (error.code === 'EAGAIN' || hasStopped(error) || !current)) {
            this.#memory.wake(block);
            return;
          }
          this.#c.hub.report(error);
          this.#memory.fail(block);
        },
      );
    return true;
  }

  #touched(block: number, access: Access): void {
    const ino = inoOf(block);
    if (!this.#isHome(ino)) {
      this.#memory.wake(block);
      return;
    }
    this.#want(block, access);
    if (access === 'read') {
      const { from, end } = this.#readAhead.touched(ino, indexOf(block));
      for (let index = from; index < end; index++) this.#prefetch(blockOf(ino, index));
    }
    this.#spinner.expect();
  }

  #prefetch(block: number): void {
    if (this.taken.isStanding(inoOf(block)) || this.#state(block) !== 'I' || !this.#hasHole(block)) return;
    this.#holder.fault(block, 'read');
  }

  isShared(): boolean {
    return true;
  }

  isWritten(): boolean {
    return false;
  }
}
