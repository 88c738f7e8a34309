/**
 * Blocks of this node's files that other nodes use: the directories (coherence.md), bound to the memory of
 * this node's processes, its sessions to links, files to STags.
 *
 * A block that only processes here use is in state E and in no table. What another node may store into is
 * absent here, and the home's copy of it is in `shadow`.
 */
import { type Extent, FsError, type Spinner } from '@cluster-fs/transport';
import type { AnyPeerEvent, PeerLink, PeerRequest } from '@cluster-fs/transport/peer';
import {
  asks,
  assertMaySay,
  carriesBytes,
  defaultLease,
  HandingOver,
  Home,
  type HomeFrame,
  ownCache,
  type Positions,
  readable,
  type TagAsked,
  type TagReply,
  type Tags,
  type ToDirectory,
  toCachePlaces,
  toDirectoryNames,
} from 'cluster-fs/coherence';
import { pageSize } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Access, FileBlocks, FileId } from '../coordinator/elsewhere.ts';
import type { Session, View } from '../coordinator/session.ts';
import { Signal } from '../coordinator/signal.ts';
import { type Range, wholeFile } from '../store/stored.ts';
import { asBuffer, nothing } from './block-buffers.ts';
import { BlockMemory, extentsIn, extentsOf } from './block-memory.ts';
import { blockAt, blockOf, indexOf, inoOf, rangeOf } from './blocks.ts';
import { assertMayGive, assertMayPin, tagsOf } from './given-tags.ts';
import { HomeBytes } from './home-bytes.ts';
import type { LentMark } from './lent-mark.ts';
import { Shadow } from './shadow.ts';
import { SharedBlocks } from './shared-blocks.ts';
import { Uses } from './uses.ts';

interface Listeners {
  /** A node has opened a session of blocks. */
  opened(link: PeerLink, session: number): void;
  ended(session: number): void;
  /** A node has broken the protocol, or named what it may not. */
  broke(link: PeerLink, reason: FsError): void;
}

interface LentOptions {
  readonly mayHaveLent: boolean;
  readonly mark: LentMark;
  readonly spinner: Spinner;
  /** Whether this node keeps the file. */
  readonly isOwn: (ino: number) => boolean;
  /** Throws for one that it has lost. */
  readonly assertHas: (ino: number) => void;
  readonly positions: Positions;
}

const tickMs = 100;

export class Lent implements FileBlocks {
  readonly #c: Coordinator;
  readonly #options: LentOptions;
  readonly #spinner: Spinner;
  readonly #listeners: Listeners;
  readonly #memory: BlockMemory;
  readonly #shadow: Shadow;
  readonly #bytes: HomeBytes;
  readonly #home: Home<Buffer>;
  readonly #tags: Tags<Uint8Array>;
  readonly #links = new Map<number, PeerLink>();
  readonly #linkIds = new WeakMap<PeerLink, number>();
  /** Blocks that are not processes' of this node alone, by file. */
  readonly #shared = new SharedBlocks();
  /** Files that are being changed, and how often. */
  readonly #held = new Map<number, number>();
  #lendsNothing = false;
  readonly handing: HandingOver<Buffer>;
  readonly #stepped = new Signal();
  readonly uses = new Uses();
  readonly #timer: NodeJS.Timeout;
  opening: Promise<void> | undefined;
  /** A block that processes here give up, and whose bytes are being read. */
  #reading: number | undefined;
  #nextLink = 1;
  #lostBlocks = 0;
  #opened: (() => void) | undefined;

  constructor(c: Coordinator, listeners: Listeners, options: LentOptions) {
    const { mayHaveLent, spinner, mark } = options;
    this.#c = c;
    this.#options = options;
    this.#spinner = spinner;
    this.#listeners = listeners;
    this.#shadow = new Shadow(c.data);
    this.#bytes = new HomeBytes({
      c,
      shadow: this.#shadow,
      state: (block) => this.#home.cache.state(block),
      read: (block) => this.#memory.read(block),
    });
    this.handing = new HandingOver({
      home: () => this.#home,
      sharedOf: (ino) => this.#shared.of(ino),
      isOwn: options.isOwn,
      forget: (ino, blocks) => {
        this.#shared.deleteFile(ino);
        for (const block of blocks) this.#memory.cancel(block);
        // Block by block it took as long as the file is large, while everybody waited.
        this.#shadow.forget(extentsOf(c, ino));
      },
    });
    this.#memory = new BlockMemory(c, {
      done: (block, bytes) => {
        this.#bytes.whileTaken(block, bytes, () => this.#home.done(block, bytes));
        this.#unshare(block);
      },
      bringIn: (block) => this.#bringIn(block),
      dropping: (block, bytes) => this.#shadow.write(this.#extents(block), rangeOf(block).from, bytes()),
      isWanted: () => true,
      dropped: () => undefined,
      installed: (block) => this.#installed(block),
      lost: () => undefined,
      memoryFor: (length) => this.#bytes.memoryFor(length),
    });
    this.#home = new Home(
      {
        nowMs: () => performance.now(),
        send: (link, frame) => this.#send(link, frame),
        memory: this.#memory,
        load: (block, to) => this.#bytes.load(block, to),
        store: (block, bytes, from) => this.#bytes.store(block, bytes, from),
        reverted: (block) => this.#reverted(block),
        cleared: () => undefined,
        ended: (session) => this.#ended(session),
        entered: (block) => this.#shared.add(block),
        isHeld: (block, from) => this.#isHeld(inoOf(block), from),
        isKept: (block, from) => this.handing.isKept(inoOf(block), from),
        hasLeft: (block) => this.handing.hasLeft(inoOf(block)),
      },
      { times: defaultLease, firstSession: mark.firstSession, mayHaveGranted: mayHaveLent },
    );
    this.#tags = tagsOf(c, options, (ino, session) => {
      for (const block of [...this.#shared.of(ino)]) {
        this.#home.forget(block, session);
        this.#unshare(block);
      }
    });
    if (mayHaveLent)
      this.opening = new Promise((resolve) => {
        this.#opened = resolve;
      });
    this.#timer = setInterval(() => this.#tick(), tickMs);
    this.#timer.unref();
  }

  #tick(): void {
    this.#home.tick();
    if (this.#opened === undefined || !this.#home.isOpen) return;
    this.opening = undefined;
    this.#opened();
    this.#opened = undefined;
  }

  get report() {
    return { lentBlocks: this.#shared.count, lostBlocks: this.#lostBlocks, stags: this.#tags.count };
  }

  close(): void {
    clearInterval(this.#timer);
    // The next node need not wait for leases of who has nothing.
    if (this.#shared.count === 0) this.#options.mark.forget();
    this.#memory.close();
    this.#shadow.close();
  }

  linkDown(link: PeerLink): void {
    const id = this.#linkIds.get(link);
    if (id === undefined) return;
    this.#links.delete(id);
    this.#home.linkDown(id);
  }

  /** Gives a node the right to a file. */
  tag(
    link: PeerLink,
    { ino, generation, mode, asked }: PeerRequest<'tagOpen'>,
  ): Promise<TagReply<Uint8Array>> {
    const session = this.#sessionOf(link);
    if (session === undefined) throw new FsError('EPROTO', 'stag', { why: 'no session of blocks' });
    return this.#tags.open({ ino, mode, session, asked }, () =>
      assertMayGive(this.#c, this.#options, { ino, generation, mode, asked }),
    );
  }

  /** A right to a file that becomes this node's, for the node that had it. */
  give(asked: TagAsked): Uint8Array {
    return this.#tags.give(asked).stag;
  }

  /** A block goes from `data`: its bytes may have to be kept all the same (`HandingOver.mustKeep`). */
  keep(block: number, bytes: () => Buffer): void {
    if (!this.handing.mustKeep(inoOf(block), block)) return;
    this.#shadow.write(this.#extents(block), rangeOf(block).from, bytes());
    this.#memory.cancel(block);
    this.#home.withdraw(block);
  }

  #isHeld(ino: number, from: number): boolean {
    if (this.handing.isHeld(ino, from)) return true;
    if (from === ownCache) return false;
    const isGiven = this.handing.givenTo(ino) !== undefined;
    const isHeld = !isGiven && (this.#lendsNothing || this.#held.has(ino));
    return isHeld || !this.#options.positions.knows(ino, from);
  }

  /** Some node knows more, or may: who asked for blocks of what it did not know is served. */
  lookAgain(): void {
    this.#home.release();
    if (this.handing.isAnyFrozen) this.#stepped.notify();
  }

  #sessionOf(link: PeerLink): number | undefined {
    const id = this.#linkIds.get(link);
    return id === undefined ? undefined : this.#home.sessionOf(id);
  }

  receive(link: PeerLink, event: AnyPeerEvent): void {
    try {
      this.#receive(link, event);
    } catch (error) {
      const reason = error instanceof FsError ? error : new FsError('EPROTO', 'blocks', { why: `${error}` });
      this.#listeners.broke(link, reason);
    }
  }

  #receive(link: PeerLink, event: AnyPeerEvent): void {
    switch (event.name) {
      case 'blockHello': {
        const id = this.#linkIds.get(link) ?? this.#nextLink++;
        this.#linkIds.set(link, id);
        this.#links.set(id, link);
        this.#home.receive(id, { kind: 'hello', ...event.fields });
        const session = this.#sessionOf(link);
        // What is said again to it may have broken the link.
        if (session === undefined) return;
        for (const stag of this.#tags.closing(session)) link.event('tagClosed', { stag });
        this.#listeners.opened(link, session);
        return;
      }
      case 'blockPing':
        this.#home.receive(this.#idOf(link), { kind: 'ping', ...event.fields });
        return;
      case 'position':
        this.#options.positions.heard(this.#sessionOf(link), event.fields);
        this.lookAgain();
        return;
      case 'toHome': {
        const { number, received, stag, index, message } = event.fields;
        const tag = this.#tags.resolve(stag, this.#sessionOf(link));
        const name = nameOf(message);
        assertMaySay(name, tag.mode);
        const block = blockOf(tag.ino, index);
        if (asks.has(name)) this.uses.note(tag.ino, tag.session);
        const bytes = this.#bytesOf(event.payload);
        const said = { block, name, ...(carriesBytes.has(name) ? { bytes } : {}) };
        const envelope = { number, received, message: said };
        this.#bytes.whileReceiving(() => this.#home.receive(this.#idOf(link), { kind: 'message', envelope }));
        this.#unshare(block);
        this.#spinner.expectOneOfMany();
        return;
      }
      case 'tagClose': {
        const { stag } = event.fields;
        const isNew = this.#tags.giveBack(this.#tags.resolve(stag, this.#sessionOf(link)));
        if (isNew) link.event('tagClosed', { stag });
        return;
      }
      case 'leaving': {
        const session = this.#sessionOf(link);
        if (session !== undefined) this.#home.leave(session);
        return;
      }
      case 'tagGone':
        this.#tags.gone(event.fields.stag, this.#sessionOf(link));
        return;
      default:
        throw new FsError('EPROTO', event.name, { why: 'not for a home' });
    }
  }

  /** They are the handler's only while it runs; a home that is not open yet takes messages later. */
  #bytesOf(payload: Uint8Array | undefined): Buffer {
    if (payload === undefined) return nothing;
    return this.opening === undefined ? asBuffer(payload) : Buffer.from(payload);
  }

  #idOf(link: PeerLink): number {
    const id = this.#linkIds.get(link);
    if (id === undefined) throw new FsError('EPROTO', 'blocks', { why: 'no session of blocks' });
    return id;
  }

  #send(id: number, frame: HomeFrame<Buffer>): void {
    const link = this.#links.get(id);
    if (link === undefined) return;
    if (frame.kind === 'welcome') link.event('blockWelcome', { ...frame, memory: this.#options.mark.memory });
    else if (frame.kind === 'pong') link.event('blockPong', frame);
    else {
      const { number, received, message } = frame.envelope;
      const { block, name, bytes } = message;
      const tag = this.#tags.of(inoOf(block), this.#home.sessionOf(id) ?? 0);
      if (tag === undefined) {
        const why = `an STag was given back while blocks of inode ${inoOf(block)} were not`;
        this.#listeners.broke(link, new FsError('EPROTO', 'blocks', { why }));
        return;
      }
      const fields = {
        number,
        received,
        stag: tag.stag,
        index: indexOf(block),
        message: toCachePlaces[name],
      };
      const onLeft = (): void => this.#bytes.left(bytes as Buffer);
      link.event('toHolder', fields, bytes === undefined ? {} : { payload: bytes, onLeft });
    }
  }

  readonly mayTake = (ino: number, session: number): boolean => this.#tags.mayTake(ino, session);

  /** Resolves when a directory has taken a step while a file stands still, and every now and then. */
  stepped(): Promise<void> {
    return this.#stepped.next(tickMs);
  }

  /** Nobody else has it any more. */
  #unshare(block: number): void {
    if (this.handing.isAnyFrozen) this.#stepped.notify();
    const isOwn = !this.#home.entries.has(block) && this.#home.cache.state(block) === 'E';
    if (isOwn) this.#shared.delete(block);
  }

  #extents(block: number) {
    return extentsIn(this.#c, block);
  }

  /** What the store alone has of a block that is about to be read here. */
  #bringIn(block: number): void {
    this.#reading = block;
    try {
      this.#c.pager?.fetchNow(inoOf(block), rangeOf(block));
    } finally {
      this.#reading = undefined;
    }
  }

  #installed(block: number): void {
    this.#shadow.forget(this.#extents(block));
    if (this.#c.writeBack === undefined) return;
    const { from, count } = rangeOf(block);
    this.#c.journal
      .mutate(() => this.#c.contentChanges(inoOf(block), { from, count }))
      .catch((error: unknown) => this.#c.hub.report(error));
  }

  #reverted(block: number): void {
    this.#lostBlocks++;
    this.#c.hub.emit('lost', undefined, { ino: inoOf(block), offset: rangeOf(block).from * pageSize });
  }

  #ended(session: number): void {
    this.#options.positions.ended(session);
    this.#tags.ended(session);
    this.#listeners.ended(session);
    for (const ino of [...this.#shared.files()])
      for (const block of [...this.#shared.of(ino)]) this.#unshare(block);
  }

  async open({ ino }: FileId, { mode }: { mode: 'r' | 'rw' }, session: Session): Promise<void> {
    if (session.userfault !== undefined) return;
    this.assertMayPin(ino, mode);
    await this.acquire(ino, wholeFile, 'read');
  }

  assertMayPin(ino: number, mode: 'r' | 'rw'): void {
    assertMayPin(this.#tags, { ino, mode, isInherited: this.handing.inherited(ino) !== undefined });
  }

  watch(view: View): void {
    const blocks = [...this.#shared.of(view.ino)];
    this.#memory.guard(
      view,
      blocks.filter((block) => this.#home.cache.state(block) !== 'E'),
    );
  }

  holds(ino: number, range: Range, access: Access): boolean {
    return this.#lacking(ino, range, access).length === 0;
  }

  #lacking(ino: number, range: Range, access: Access): number[] {
    return this.#shared.within(ino, range).filter((block) => !this.#may(block, access));
  }

  #may(block: number, access: Access): boolean {
    // It is on its way out, and still here.
    if (block === this.#reading) return true;
    const state = this.#home.cache.state(block);
    return access === 'write' ? state === 'E' : readable.has(state);
  }

  async acquire(ino: number, range: Range, access: Access): Promise<void> {
    for (;;) {
      const lacking = this.#lacking(ino, range, access);
      if (lacking.length === 0) return;
      await Promise.all(
        lacking.map((block) => {
          const changed = this.#memory.changed(block);
          changed.catch(() => undefined);
          this.#home.fault(block, access);
          this.#unshare(block);
          return changed;
        }),
      );
    }
  }

  fault(view: View, filePage: number, access: Access): boolean {
    const block = blockAt(view.ino, filePage);
    if (!this.#shared.has(block)) return false;
    if (this.#may(block, access)) {
      this.#memory.wake(block);
      return access === 'write';
    }
    this.#home.fault(block, access);
    this.#spinner.expect();
    return true;
  }

  hold(ino: number): void {
    this.#held.set(ino, (this.#held.get(ino) ?? 0) + 1);
  }

  release(ino: number): void {
    const left = (this.#held.get(ino) ?? 1) - 1;
    if (left > 0) this.#held.set(ino, left);
    else if (this.#held.delete(ino)) this.#home.release();
  }

  forget(ino: number, extents: readonly Extent[]): void {
    this.handing.forget(ino);
    this.#shadow.forget(extents);
  }

  lendNothing(): void {
    this.#lendsNothing = true;
  }

  bringBack(): void {
    for (const ino of [...this.#shared.files()].filter((each) => this.#options.isOwn(each)))
      for (const block of this.#shared.of(ino))
        if (this.#bytes.isBeside(block))
          this.#memory.install(block, this.#bytes.load(block, ownCache), 'read');
  }

  isShared(ino: number): boolean {
    return this.#shared.hasFile(ino);
  }

  sharedFiles(): Iterable<number> {
    return this.#shared.files();
  }

  isWritten(ino: number): boolean {
    return this.#tags.isWritten(ino) || this.handing.inherited(ino) !== undefined;
  }
}

function nameOf(message: number): ToDirectory {
  const name = toDirectoryNames[message];
  if (name === undefined) throw new FsError('EPROTO', 'blocks', { why: `message ${message}` });
  return name;
}
