/**
 * A node that takes the steps of the model (move.pml) with the code: one file of one block, and one other
 * node. Whatever the code waits for ends when the model says so.
 */
import { FsError } from '@cluster-fs/transport';
import {
  type HandedOver,
  HandingOver,
  Holder,
  type HolderFrame,
  Home,
  type HomeFrame,
  type Memory,
  type Moving,
  type MovingNeighbour,
  type MovingWorld,
  ownCache,
  readable,
  Taken,
} from 'cluster-fs/coherence';
import type { Replay } from './replay.ts';

export type Access = 'none' | 'read' | 'write';

const file = 0;
const block = 0;
const leaseMs = 100;
const leases = { leaseMs, heartbeatMs: 20, cutOffMs: 10 };
/** More than any lease, on any clock. */
const longMs = 1000;
const abandonedMs = 3;
const away: ReadonlySet<string> = new Set(['I', 'IS', 'IE']);

/** The block in the pages of the node, as its home or as another one's user has it. */
class Page implements Memory<number> {
  readonly #node: ReplayNode;
  readonly #done: (value: number) => void;
  readonly #dropping: (value: number) => void;
  readonly #installed: () => void;
  #job: 'drop' | 'protect' | undefined;

  constructor(
    node: ReplayNode,
    on: Record<'done' | 'dropping', (v: number) => void> & { installed(): void },
  ) {
    this.#node = node;
    this.#done = on.done;
    this.#dropping = on.dropping;
    this.#installed = on.installed;
  }

  drop(): void {
    this.#job = 'drop';
  }

  protect(): void {
    this.#job = 'protect';
  }

  cancel(): void {
    this.#job = undefined;
  }

  get isBusy(): boolean {
    return this.#job !== undefined;
  }

  perform(): void {
    const job = this.#job;
    const node = this.#node;
    if (job === undefined) throw new Error(`node ${node.id} does not give its copy up`);
    this.#job = undefined;
    const { value } = node;
    if (job === 'protect') node.access = node.access === 'write' ? 'read' : node.access;
    else {
      this.#dropping(value);
      node.punch();
    }
    this.#done(value);
  }

  install(_: number, value: number, access: 'read' | 'write'): void {
    Object.assign(this.#node, { value, access, isAbsent: false });
    this.#installed();
  }

  allow(): void {
    this.#node.access = 'write';
  }

  read(): number {
    return this.#node.value;
  }

  wake(): void {
    // The model says who asks, and when again.
  }

  fail(): void {
    throw new Error('a home refuses the block');
  }

  lose(): void {
    // What is lost with a lease is looked at where the home hears of it.
  }
}

export class ReplayNode {
  readonly id: number;
  readonly #replay: Replay;
  readonly #code: typeof Moving<number, number>;
  // What outlives its death.
  home = 1;
  candidate: number | undefined;
  shownHome: number | undefined;
  access: Access = 'none';
  value = -1;
  isAbsent = true;
  disk = -1;
  #shadow = -1;
  /** Its processes may use what it has of the other node. */
  isHeld = true;
  // One life.
  isAlive = false;
  isOpen = true;
  lending!: Home<number>;
  holder!: Holder<number>;
  handing!: HandingOver<number>;
  taken!: Taken<number>;
  moving!: Moving<number, number>;
  #own!: Page;
  #theirs!: Page;
  #homeMs = 0;
  #holderMs = 0;
  /** The session that this node has there, and the other one here. */
  #session: number | undefined;
  sessionHere: number | undefined;
  /** The link over which it uses the other one. */
  link: number | undefined;
  /** The block is on its way, also when it is here: until the model says that it has come. */
  isFetching = false;
  broughtAll = false;
  #timers: (() => void)[] = [];
  #lives = 0;
  #hasResumed = false;

  constructor(replay: Replay, id: number, code: typeof Moving<number, number>) {
    this.#replay = replay;
    this.#code = code;
    this.id = id;
  }

  get other(): ReplayNode {
    return this.#replay.node(3 - this.id);
  }

  get isOwn(): boolean {
    return this.home === this.id;
  }

  punch(): void {
    Object.assign(this, { access: 'none', value: -1, isAbsent: true });
  }

  /** What its processes may do without asking. */
  get may(): Access {
    const home = this.shownHome ?? this.home;
    if (home === this.id) return this.access;
    // What was resumed may be used until the lease of the life before is over.
    const isOutlived = this.isAlive && this.taken.hasOutlived && !this.#hasResumed;
    return this.isHeld && !isOutlived ? this.access : 'none';
  }

  start(mayHaveGranted: boolean): void {
    this.isAlive = true;
    this.#lives++;
    this.#session = undefined;
    this.sessionHere = undefined;
    this.link = undefined;
    this.#timers = [];
    this.#own = new Page(this, {
      done: (value) => this.lending.done(block, value),
      dropping: (value) => {
        this.#shadow = value;
      },
      installed: () => undefined,
    });
    this.#theirs = new Page(this, {
      done: (value) => this.holder.done(block, value),
      dropping: (value) => this.#keep(value),
      installed: () => this.taken.arrived(block),
    });
    this.handing = new HandingOver<number>({
      home: () => this.lending,
      sharedOf: () => new Set(this.#isShared ? [block] : []),
      isOwn: () => this.isOwn,
      forget: () => this.#own.cancel(),
    });
    this.lending = new Home<number>(this.#homeWorld(), {
      times: leases,
      firstSession: this.#lives * 100 + this.id,
      mayHaveGranted,
    });
    this.holder = new Holder<number>(
      { nowMs: () => this.#holderMs, send: (frame) => this.#say(frame), memory: this.#theirs },
      { times: leases },
    );
    this.taken = new Taken<number>({
      holder: () => this.holder,
      inoOf: () => file,
      blocksOf: () => [block],
      withAbsent: () => new Set(this.isAbsent || this.isFetching ? [block] : []),
      may: (_, access) => this.#mayTake(access),
      isOpen: () => true,
      open: async () => undefined,
      ask: () => undefined,
      changed: () => this.#replay.wait('block'),
      inTime: async (work) => void (await work),
      session: () => this.#sessionThere,
      assertReachable: () => undefined,
      lose: () => undefined,
    });
    this.moving = new this.#code(this.#world());
    this.#hasResumed = this.candidate !== undefined;
    this.moving.resume(file);
  }

  get #isShared(): boolean {
    return this.lending.entries.has(block) || this.lending.cache.state(block) !== 'E';
  }

  get #sessionThere(): number | undefined {
    return this.holder.isIn ? this.#session : undefined;
  }

  #mayTake(access: 'read' | 'write'): boolean {
    const state = this.taken.copyOf(block) ?? this.holder.cache.state(block);
    return (access === 'write' ? state === 'E' : readable.has(state)) && !this.isAbsent && !this.isFetching;
  }

  #keep(value: number): void {
    if (!this.handing.mustKeep(file, block)) return;
    this.#shadow = value;
    this.#own.cancel();
    this.lending.withdraw(block);
  }

  #homeWorld(): ConstructorParameters<typeof Home<number>>[0] {
    return {
      nowMs: () => this.#homeMs,
      send: (link, frame) => {
        if (this.other.link === link) this.#replay.post(() => this.other.hear(link, frame));
      },
      memory: this.#own,
      load: () => this.#load(),
      store: (_, value, from) => {
        if (from !== ownCache) this.#shadow = value;
      },
      reverted: () => this.#replay.reverts(this.#load()),
      cleared: () => undefined,
      ended: () => {
        this.sessionHere = undefined;
      },
      isHeld: (_, from) => this.handing.isHeld(file, from),
      isKept: (_, from) => this.handing.isKept(file, from),
      hasLeft: () => this.handing.hasLeft(file),
    };
  }

  #load(): number {
    const value = away.has(this.lending.cache.state(block)) ? this.#shadow : this.value;
    if (value < 0) throw new Error(`node ${this.id} has no bytes of its block`);
    return value;
  }

  #say(frame: HolderFrame<number>): void {
    const { link } = this;
    this.#replay.post(() => {
      if (link === undefined || link !== this.link) return;
      this.other.lending.receive(link, frame);
      if (frame.kind === 'hello') this.other.sessionHere = this.other.lending.sessionOf(link);
    });
  }

  hear(link: number, frame: HomeFrame<number>): void {
    if (link !== this.link) return;
    if (frame.kind === 'welcome') {
      if (!this.holder.awaits(frame)) return;
      this.#session = frame.session;
    }
    if (frame.kind === 'message' && this.taken.isPrepared(file)) this.taken.reattach(file);
    this.holder.receive(frame);
  }

  // What the model says happens.

  connect(link: number): void {
    this.link = link;
    this.isHeld = true;
    this.holder.linkUp();
  }

  disconnect(): void {
    const { link, other } = this;
    if (link === undefined) return;
    this.link = undefined;
    if (this.isAlive) this.holder.linkDown();
    if (other.isAlive) other.lending.linkDown(link);
  }

  /** Whether the session there goes on over the next link. */
  get goesOn(): boolean {
    return this.#sessionThere !== undefined && this.other.sessionHere === this.#sessionThere;
  }

  fence(): void {
    this.isHeld = false;
    if (!this.isAlive || !this.holder.isIn) return;
    this.#holderMs += longMs;
    this.holder.tick();
  }

  reclaim(): void {
    this.#homeMs += longMs;
    this.lending.tick();
  }

  /** What is fenced goes before anything else happens. */
  settle(): void {
    if (this.isAlive && this.holder.cache.state(block) === 'X' && this.#theirs.isBusy) this.#theirs.perform();
  }

  /** Gives its copy up, as the home at `keeper` has asked. */
  giveUp(keeper: number): void {
    (keeper === this.id ? this.#own : this.#theirs).perform();
  }

  fault(keeper: number, access: 'read' | 'write'): void {
    if (keeper === this.id) this.lending.fault(block, access);
    else this.holder.fault(block, access);
  }

  open(): void {
    this.isOpen = true;
    this.#homeMs += longMs;
    this.#ownIt();
  }

  #ownIt(): void {
    if (!this.isOwn || !this.isOpen || this.#isShared) return;
    this.access = 'write';
    this.#replay.reverts(this.value);
  }

  /** The inode says that another node is the home. */
  rehomed(to: number): void {
    const from = this.home;
    if (from === to) return;
    const keeps = this.moving.keepsPages(file, { from, to });
    this.home = to;
    if (to === this.id && !keeps) throw new Error(`node ${this.id} is the home, and has lost the file`);
    if (!keeps) this.punch();
    this.moving.changed(file, { from, to });
    this.#ownIt();
  }

  die(): void {
    this.isAlive = false;
    this.isOpen = false;
    this.isFetching = false;
    this.disconnect();
    this.other.disconnect();
    if (this.isAbsent && this.isOwn) Object.assign(this, { value: this.#shadow, isAbsent: false });
  }

  loseHost(): void {
    Object.assign(this, { access: 'none', value: this.disk, isAbsent: this.disk < 0 });
    this.isHeld = false;
  }

  restart(): void {
    this.shownHome = undefined;
    if (this.isOwn) this.candidate = undefined;
    if (this.candidate === undefined) {
      this.access = 'none';
      this.isHeld = false;
    }
    if (!this.isOwn && this.candidate === undefined) this.punch();
    this.start(true);
  }

  /** Nobody goes on to move the file. */
  abandon(): void {
    const [run] = this.#timers;
    if (run === undefined) throw new Error(`node ${this.id} does not wait for who moves the file`);
    run();
  }

  #world(): MovingWorld<number, number> {
    const replay = this.#replay;
    return {
      times: { takeMs: 1, pollMs: 2, quietMs: longMs, abandonedMs },
      nowMs: () => 0,
      after: (ms, run) => {
        if (ms === abandonedMs) this.#timers.push(run);
        return () => {
          this.#timers = this.#timers.filter((each) => each !== run);
        };
      },
      stepped: () => replay.wait('quiet'),
      self: () => this.id,
      handing: this.handing,
      neighbour: () => this.#neighbour(),
      isKnown: () => true,
      sessionOf: () => this.sessionHere,
      // The model knows sessions, and no rights.
      mayTake: () => true,
      // A file of one block, which is there.
      knows: () => true,
      homeOf: () => this.home,
      assertIs: (_, home) => {
        if (this.home !== home) throw new FsError('ESTALE', 'move', { why: 'it has another home' });
      },
      assertMovable: () => undefined,
      hold: () => replay.wait('hold'),
      settled: () => replay.wait('settled'),
      uses: () => ({ mode: 'rw', isWritten: false }),
      makeRoom: () => replay.wait('room'),
      store: async () => {
        if (replay.isAt('brought')) return;
        await replay.wait('store');
        this.disk = this.value;
      },
      forgetStored: () => undefined,
      showHome: (_, home) => {
        this.shownHome = home;
      },
      candidateOf: () => this.candidate,
      setCandidate: (_, of) => {
        this.candidate = of?.move;
      },
      isMoving: (_, move) => replay.ask(this.id, move),
    };
  }

  #neighbour(): MovingNeighbour<number, number> {
    const replay = this.#replay;
    return {
      taken: this.taken,
      session: () => this.#sessionThere,
      enter: async () => {
        await replay.wait('enter');
        return this.#sessionThere as number;
      },
      reach: async () => (said: HandedOver) => replay.say(said),
      bring: async () => {
        if (!this.broughtAll) throw new FsError('ECONNRESET', 'move', { why: 'no link' });
        this.taken.begin(file);
        return { present: 1, total: 1 };
      },
      adopt: (_ino, _right, blocks) => {
        for (const each of blocks) this.holder.adopt(each, 'S', this.#session);
      },
      abandon: () => this.taken.abandon(file, () => this.#theirs.cancel()),
      refuse: () => undefined,
      giveBack: () => undefined,
    };
  }
}
