/** A node of the simulation between whose homes files move: it lives and dies, its host goes on. */
import { FsError } from '@cluster-fs/transport';
import { Moving } from 'cluster-fs/coherence';
import type { Changes } from './frames.ts';
import { Host, unknown } from './host.ts';
import { Layouts } from './layouts.ts';
import { LeadingNode } from './leading-node.ts';
import { Lending } from './lending.ts';
import { movingWorldOf } from './moving-world.ts';
import { Neighbour } from './neighbour.ts';
import { coordinator, type MovesSimulation } from './simulation.ts';
import { type Stop, stopCleanly } from './stopping.ts';

export class MovingNode {
  readonly id: number;
  readonly sim: MovesSimulation;
  readonly host: Host;
  readonly #neighbours = new Map<number, Neighbour>();
  #lending: Lending | undefined;
  #moving: Moving<number, number> | undefined;
  #layouts: Layouts | undefined;
  leading: LeadingNode | undefined;
  /** Files that have moved, on their way to be opened at their new homes. */
  readonly #openings = new Set<Promise<void>>();
  /** Who holds the layout of a file, and who waits for that. */
  readonly #gates = new Map<number, (() => void)[]>();
  /** Everything that had been committed when the link to the coordinator came up is applied. */
  isCurrent = false;
  #inbox: (() => void)[] = [];
  #stalledUntilMs = 0;
  #life = 0;
  /** Whether leases may last that it has given, when it has stopped. */
  #hasLent = false;
  isAlive = false;
  /** A node that joins serves nobody before it has heard from the coordinator. */
  isServing = false;
  isStopping = false;

  constructor(sim: MovesSimulation, id: number) {
    this.sim = sim;
    this.id = id;
    this.host = new Host(sim, id);
    this.host.onTouch = (block, access) => this.#do(() => this.#touch(block, access));
  }

  get life(): number {
    return this.#life;
  }

  get lending(): Lending {
    return this.#lending as Lending;
  }

  get layouts(): Layouts {
    return this.#layouts as Layouts;
  }

  get moving(): Moving<number, number> {
    return this.#moving as Moving<number, number>;
  }

  /** Whether it is one that connects to another node. */
  mayUse(id: number): boolean {
    const isIn = this.isServing || this.isStopping || id === coordinator;
    return isIn && this.#neighbours.get(id)?.hasLeft === false;
  }

  get neighbours(): Neighbour[] {
    return [...this.#neighbours.values()];
  }

  neighbour(id: number): Neighbour {
    return this.#neighbours.get(id) as Neighbour;
  }

  note(what: string): void {
    this.sim.note(`node ${this.id} ${what}`);
  }

  start({ isFirst, mayHaveGranted }: { readonly isFirst: boolean; readonly mayHaveGranted: boolean }): void {
    this.isAlive = true;
    this.isServing = this.id === coordinator || isFirst;
    this.isStopping = false;
    this.#life++;
    this.isCurrent = false;
    this.#openings.clear();
    this.#gates.clear();
    this.#lending = new Lending(this, this.#life, mayHaveGranted);
    this.#neighbours.clear();
    for (let id = 0; id < this.sim.nodeCount; id++)
      if (id !== this.id) this.#neighbours.set(id, new Neighbour(this, id));
    this.#layouts = new Layouts(this, { life: this.#life, isFirst });
    // It is told of everything anew.
    if (this.sim.hasSizes && !isFirst && this.id !== coordinator) this.host.feed = -1;
    this.#moving = new Moving(movingWorldOf(this));
    this.leading = this.id === coordinator ? new LeadingNode(this, this.#life) : undefined;
    for (const file of this.host.candidates.keys()) this.#moving.resume(file);
    this.publish();
    this.#keepTicking(this.#life);
  }

  /** Its processes live on with what they have, or the host is gone with them. */
  crash(what: 'process' | 'host'): void {
    if (!this.isAlive) return;
    this.sim.note(`the ${what} of node ${this.id} dies`);
    // Also when it has not heard yet that it is the home: others have.
    const { homes } = this.sim.node(coordinator).host;
    const isHome = (file: number): boolean => this.host.isOwn(file) || homes[file] === this.id;
    this.sim.losses.forget(
      (block, node) => node === this.id || (what === 'host' && isHome(this.sim.fileOf(block))),
    );
    if (what === 'host') this.host.loseMemory();
    this.#end({ mayHaveGranted: true });
  }

  /** Ctrl-C: from here on it does what is to be done before it is gone. */
  stop(how: Stop): void {
    this.#do(() => {
      // It may have stood still meanwhile.
      if (this.sim.isCalm || !this.isServing || this.isStopping || !this.lending.isOpen) return;
      this.note(`stops, ${how}`);
      this.isStopping = true;
      this.run(stopCleanly(this, how)).then(
        (kept) => this.#left(kept),
        (error: unknown) => this.sim.fail(error),
      );
    });
  }

  /** Nobody comes to it any more. */
  closeHome(): void {
    this.isServing = false;
    this.#hasLent = this.lending.hasLent;
    this.moving.close();
    this.sim.cutLinksTo(this.id);
  }

  #left(kept: 'disk' | 'memory' | 'nothing'): void {
    this.note(`has left, with ${kept}`);
    if (kept === 'disk') this.host.loseMemory();
    if (kept === 'nothing') this.host.forgetAll();
    this.sim.losses.forget((_, node) => node === this.id);
    this.#end({ mayHaveGranted: this.#hasLent });
  }

  #end(next: { readonly mayHaveGranted: boolean }): void {
    const { sim } = this;
    this.isAlive = false;
    this.isServing = false;
    this.#inbox = [];
    sim.cutLinksOf(this.id);
    sim.timeline.after(sim.random.pick([5, 50, 300]), () => this.#restart(next));
  }

  #restart(next: { readonly mayHaveGranted: boolean }): void {
    this.note('starts again');
    this.host.restore();
    this.#stalledUntilMs = 0;
    this.start({ isFirst: false, ...next });
    if (this.isServing) this.#touchAgain();
  }

  #touchAgain(): void {
    for (const { block, access } of this.host.waiting) this.#do(() => this.#touch(block, access));
  }

  /** SIGSTOP: its processes go on. */
  stall(ms: number): void {
    this.note(`is stopped for ${ms} ms`);
    this.#stalledUntilMs = this.sim.timeline.nowMs + ms;
    this.sim.timeline.after(ms, () => this.#drain());
  }

  /** Something for the node itself to do, when it runs. */
  #do(run: () => void): void {
    if (!this.isAlive) return;
    this.#inbox.push(run);
    if (this.#inbox.length === 1) this.#drain();
  }

  /** What has come while it was stopped is done bit by bit: promises have their turns in between. */
  #drain(): void {
    if (!this.isAlive || this.sim.timeline.nowMs < this.#stalledUntilMs) return;
    const run = this.#inbox.shift();
    if (run === undefined) return;
    run();
    this.publish();
    if (this.#inbox.length > 0) this.sim.timeline.after(0, () => this.#drain());
  }

  /** Of this life, when it runs. Returns how to take that back. */
  after(ms: number, run: () => void): () => void {
    const life = this.#life;
    let isWanted = true;
    this.sim.timeline.after(ms, () => {
      if (life === this.#life && isWanted)
        this.#do(() => {
          if (isWanted) run();
        });
    });
    return () => {
      isWanted = false;
    };
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, () => this.settled(resolve)));
  }

  /** Begins something that goes on by itself. */
  run<T>(work: Promise<T>): Promise<T> {
    this.sim.settles();
    return work;
  }

  /** Settles a promise. */
  settled(settle: () => void): void {
    this.sim.settles();
    settle();
  }

  /** ETIMEDOUT when it takes too long. */
  async inTime(work: Promise<unknown>): Promise<void> {
    const late = new Promise<never>((_, reject) => {
      this.after(this.sim.patienceMs, () =>
        this.settled(() => reject(new FsError('ETIMEDOUT', 'read', { why: 'not given' }))),
      );
    });
    await Promise.race([work, late]);
  }

  publish(): void {
    for (const neighbour of this.#neighbours.values()) neighbour.publish();
    if (this.isServing && !this.lending.isOpen && this.lending.home.isOpen) this.#open();
  }

  #keepTicking(life: number): void {
    if (life !== this.#life || !this.isAlive) return;
    this.#do(() => {
      this.publish();
      for (const neighbour of this.#neighbours.values()) neighbour.tick();
      this.lending.home.tick();
    });
    this.sim.timeline.after(this.sim.times.heartbeatMs / 4, () => this.#keepTicking(life));
  }

  /** The leases of an earlier life are over: the home has its files for itself. */
  #open(): void {
    this.lending.open();
    for (let file = 0; file < this.sim.files; file++) if (this.host.isOwn(file)) this.#own(file);
  }

  /** Processes here may do with a file of this node what its directories know. */
  #own(file: number): void {
    const { sim, host, lending } = this;
    if (!lending.isOpen) return;
    for (const block of sim.blocksOf(file)) {
      if (lending.isShared(block)) continue;
      const page = host.page(block);
      if (page.access === 'write' || !host.isThere(block)) continue;
      if (page.isAbsent) throw new Error(`node ${this.id} has nothing of its block ${block}`);
      sim.assertUnused(block, this.id);
      if (page.value !== sim.newest[block]) {
        sim.loses(block);
        sim.losses.lost(block);
      }
      page.access = 'write';
      sim.newest[block] = page.value;
      this.note(`has ${page.value} in its block ${block}`);
    }
  }

  #touch(block: number, access: 'read' | 'write'): void {
    const { host, lending, sim } = this;
    if (!this.isServing) return;
    const may = host.accessTo(block);
    if (may === 'write' || may === access) {
      this.retry(block);
      return;
    }
    const file = sim.fileOf(block);
    if (host.isOwn(file)) lending.home.fault(block, access);
    else this.neighbour(host.homes[file] as number).fault(block, access);
  }

  /** Who waits for the block tries again: in a moment, when others may have been faster. */
  retry(block: number): void {
    const woken = this.host.takeWaiting(block);
    const retry = (): void => {
      for (const { access } of woken) this.host.access(block, access, this.isAlive);
    };
    if (woken.length > 0) this.sim.timeline.after(this.sim.random.between(0, 0.3), retry);
  }

  access(block: number, access: 'read' | 'write'): void {
    this.host.access(block, access, this.isAlive);
  }

  evict(block: number): void {
    const file = this.sim.fileOf(block);
    this.#do(() => {
      const home = this.#homeElsewhere(file);
      if (home?.taken.has(file) === false) home.holder.evict(block);
    });
  }

  flush(block: number): void {
    this.#do(() => this.#homeElsewhere(this.sim.fileOf(block))?.holder.flush(block));
  }

  /** Its processes use a file no more, for a moment. */
  idle(file: number): void {
    this.#do(() => {
      for (const neighbour of this.#neighbours.values()) neighbour.idle(file);
    });
  }

  #homeElsewhere(file: number): Neighbour | undefined {
    const { host } = this;
    return host.isOwn(file) ? undefined : this.#neighbours.get(host.homes[file] as number);
  }

  /** Its files are moved to other nodes. */
  drain(id: number): void {
    this.#do(() => {
      if (this.leading !== undefined) void this.run(this.leading.empty(id, () => true));
    });
  }

  /** A process changes which blocks of a file there are. */
  changeLayout(file: number, change: (present: Set<number>) => void): void {
    this.#do(() => {
      if (!this.isServing || this.isStopping || !this.lending.isOpen || !this.host.isOwn(file)) return;
      this.run(this.layouts.change(file, change)).catch((error: unknown) => this.sim.fail(error));
    });
  }

  move(file: number, to: number): void {
    this.#do(() => this.leading?.move(file, to));
  }

  /** Runs it when the node does, if it lives this life then. */
  whileAlive(life: number, run: () => void): void {
    if (life === this.#life) this.#do(run);
  }

  /** Resolves when whatever has moved is open at its new home. */
  async opened(): Promise<void> {
    while (this.#openings.size > 0) await Promise.all(this.#openings);
  }

  follow(): void {
    const follow = async (): Promise<void> => {
      await this.opened();
      const { feed, sequence } = this.host;
      this.followed(await this.neighbour(coordinator).request('follow', { feed, sequence }));
    };
    this.run(follow()).catch((error: unknown) => {
      if (!(error instanceof FsError)) this.sim.fail(error);
    });
  }

  /** The coordinator says which homes files have. */
  followed(said: Changes): void {
    this.host.feed = said.feed;
    this.layouts.hears(said);
    for (const change of said.changes) {
      this.host.sequence = change.sequence;
      this.rehomed(change.file, change.to, false);
      this.layouts.apply(change);
    }
    this.layouts.applied(said);
    const { sim } = this;
    const neighbour = this.neighbour(coordinator);
    const { turn } = neighbour;
    const applied = (): void => {
      if (neighbour.turn !== turn || !neighbour.isLinked) return;
      if (!this.isCurrent && sim.hasSizes) this.layouts.sendAll();
      this.isCurrent = true;
      if (!this.isServing && !this.isStopping) this.#serve();
      neighbour.event({ kind: 'applied', sequence: this.host.sequence });
    };
    this.run(this.opened().then(applied)).catch((error: unknown) => this.sim.fail(error));
  }

  #serve(): void {
    this.isServing = true;
    this.#touchAgain();
  }

  /** The inode says that a file has another home. `isCommit`: at the coordinator, which decides that. */
  rehomed(file: number, to: number, isCommit: boolean): void {
    const { host, moving, id, sim } = this;
    const from = host.homes[file] as number;
    if (from === to) return;
    if (from === unknown) {
      host.homes[file] = to;
      if (to === id) throw lostIt(id, file);
      return;
    }
    const keeps = isCommit || moving.keepsPages(file, { from, to });
    host.homes[file] = to;
    if (to === id && !keeps) throw lostIt(id, file);
    if (!keeps) for (const block of sim.blocksOf(file)) host.punch(block);
    if (from === id) for (const block of sim.blocksOf(file)) host.disk.delete(block);
    this.note(`hears that node ${to} is the home of file ${file}`);
    moving.changed(file, { from, to });
    if (to === id && host.layout(file) !== sim.layout(file))
      throw new Error(`node ${id} is the home of file ${file}, and does not know it as it is`);
    if (to === id) this.#own(file);
    const opening = this.run(this.#keepOpen(file, from)).finally(() => this.#openings.delete(bounded));
    const bounded: Promise<void> = Promise.race([opening, this.pause(sim.patienceMs / 15)]);
    this.#openings.add(bounded);
    void bounded.then(() => this.#openings.delete(bounded));
  }

  /** Whoever has the file mapped here has it at its new home, too. */
  async #keepOpen(file: number, from: number): Promise<void> {
    const { host, id } = this;
    const endMs = host.nowMs + 3 * this.sim.times.leaseMs;
    try {
      for (;;) {
        const home = host.homes[file] as number;
        try {
          if (home !== id) await this.neighbour(home).keepOpen(file);
          return;
        } catch (error) {
          if (!(error instanceof FsError) || error.code !== 'EAGAIN' || host.nowMs > endMs) throw error;
          if (host.homes[file] === home) await this.pause(1);
        }
      }
    } catch (error) {
      if (!(error instanceof FsError)) this.sim.fail(error);
    } finally {
      if (host.homes[file] !== from && from !== id) this.neighbour(from).leave(file);
    }
  }

  async hold(file: number): Promise<() => void> {
    const line = this.#gates.get(file);
    if (line === undefined) this.#gates.set(file, []);
    else await new Promise<void>((resolve) => line.push(resolve));
    return () => {
      const next = this.#gates.get(file)?.shift();
      if (next === undefined) this.#gates.delete(file);
      else this.settled(next);
    };
  }

  /** What is not as it should be when nothing breaks any more. */
  get toDo(): string | undefined {
    const { sim, host } = this;
    if (sim.timeline.nowMs < this.#stalledUntilMs) return `node ${this.id} stands still`;
    if (!this.isServing) return `node ${this.id} does not serve anybody`;
    const [one] = host.waiting;
    if (one !== undefined) {
      const home = host.homes[sim.fileOf(one.block)] as number;
      const at = home === this.id ? this.lending.home : this.neighbour(home).holder;
      const state = at.cache.state(one.block);
      return `node ${this.id} waits to ${one.access} ${one.block} of node ${home} for ever, in ${state}`;
    }
    for (let file = 0; file < sim.files; file++) {
      if (host.homes[file] !== sim.node(coordinator).host.homes[file])
        return `node ${this.id} does not know which home file ${file} has`;
      if (this.lending.handing.isOnItsWay(file) || this.moving.isTaking(file) || this.moving.isGiving(file))
        return `file ${file} is on its way for ever at node ${this.id}`;
      if (this.leading?.isMoving(file) === true) return `file ${file} is moved for ever`;
      if (this.layouts.changing.has(file)) return `file ${file} is changed for ever at node ${this.id}`;
      if (host.candidates.has(file)) return `node ${this.id} may be the home of ${file} for ever`;
    }
    return undefined;
  }
}

const lostIt = (id: number, file: number): Error =>
  new Error(`node ${id} is the home of file ${file}, and has lost it`);
