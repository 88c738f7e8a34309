/**
 * A node of the simulation and the processes of its host. The processes live on when the node is stopped or
 * dies, and go on with what they have mapped, until their own clock says that the lease is over.
 */
import {
  DirectorySteps,
  Holder,
  type HolderFrame,
  Home,
  type HomeFrame,
  type Memory,
} from 'cluster-fs/coherence';
import type { LinkEnd } from './network.ts';
import type { Frame, Simulation } from './simulation.ts';

type Access = 'none' | 'read' | 'write';

/** What the processes of the host have of a block. */
interface Mapped {
  access: Access;
  value: number;
  /** Of what was begun last; another one begun makes it void. */
  work: number;
}

interface Waiting {
  readonly block: number;
  readonly access: 'read' | 'write';
}

/** All homes take the same ones. */
const directorySteps = new DirectorySteps();

export class SimulatedNode {
  readonly id: number;
  readonly #sim: Simulation;
  /** Its clock goes a little faster or slower, and began some time ago. */
  readonly #clock: { readonly rate: number; readonly startMs: number };
  readonly #mapped = new Map<number, Mapped>();
  /** Own blocks: the bytes that others get, and those that outlive the host. */
  readonly #atHome = new Map<number, number>();
  readonly #onDisk = new Map<number, number>();
  readonly #holders = new Map<number, Holder<number>>();
  /** By peer. */
  readonly #links = new Map<number, { readonly id: number; send(frame: Frame): void }>();
  #nextLink = 0;
  #home: Home<number> | undefined;
  /** In shared memory, for the processes: until when blocks of each home may be used. */
  readonly #heldUntilMs = new Map<number, number>();
  #waiting: Waiting[] = [];
  #inbox: (() => void)[] = [];
  #stalledUntilMs = 0;
  #life = 0;
  #isOpen = false;
  isAlive = false;

  constructor(sim: Simulation, id: number) {
    this.#sim = sim;
    this.id = id;
    this.#clock = { rate: sim.random.between(0.991, 1.009), startMs: sim.random.between(0, 1e6) };
    for (let block = 0; block < sim.blocks; block++)
      this.#mapped.set(block, { access: 'none', value: 0, work: 0 });
  }

  get #nowMs(): number {
    return this.#clock.startMs + this.#sim.timeline.nowMs * this.#clock.rate;
  }

  #isHomeOf(block: number): boolean {
    return this.#sim.homeOf(block) === this;
  }

  #block(block: number): Mapped {
    return this.#mapped.get(block) as Mapped;
  }

  /** What a process of this host can do with a block now, without asking anybody. */
  accessTo(block: number): Access {
    const { access } = this.#block(block);
    if (access === 'none' || this.#isHomeOf(block) || !this.#sim.rules.cutsOff) return access;
    const untilMs = this.#heldUntilMs.get(this.#sim.homeOf(block).id) ?? 0;
    return this.#nowMs < untilMs + this.#sim.rules.times.cutOffMs ? access : 'none';
  }

  access(block: number, access: 'read' | 'write'): void {
    const mapped = this.#block(block);
    const may = this.accessTo(block);
    if (may === 'none' || (access === 'write' && may === 'read')) {
      this.#waiting.push({ block, access });
      this.#do(() => this.#fault(block, access));
      return;
    }
    this.#sim.accesses++;
    this.#sim.assertOneWriter(block);
    const { newest } = this.#sim;
    if (mapped.value !== newest[block])
      throw new Error(`node ${this.id} sees ${mapped.value} in ${block}, and ${newest[block]} was stored`);
    if (access === 'read') return;
    mapped.value = this.#sim.nextValue();
    newest[block] = mapped.value;
    if (!this.#isHomeOf(block)) this.#sim.losses.stored(block, this.isAlive ? this.id : undefined);
    this.#sim.note(`node ${this.id} stores ${mapped.value} into ${block}`);
  }

  evict(block: number): void {
    this.#do(() => this.#holders.get(this.#sim.homeOf(block).id)?.evict(block));
  }

  flush(block: number): void {
    if (!this.#isHomeOf(block)) this.#do(() => this.#holders.get(this.#sim.homeOf(block).id)?.flush(block));
    else if (this.#block(block).access === 'write') this.#onDisk.set(block, this.#block(block).value);
  }

  clear(block: number): void {
    if (this.#isHomeOf(block) && this.#isOpen) this.#do(() => this.#home?.clear(block));
  }

  start({ mayHaveGranted }: { mayHaveGranted: boolean }): void {
    const { rules } = this.#sim;
    this.isAlive = true;
    this.#life++;
    this.#isOpen = false;
    const { cacheTable, directoryTable, homeTimes: times } = rules;
    const tables = {
      ...(cacheTable === undefined ? {} : { cacheTable }),
      ...(directoryTable === undefined ? { directorySteps } : { directoryTable }),
    };
    const grants = mayHaveGranted && rules.waitsForOldLeases;
    const options = { times, firstSession: this.#life * 1000, mayHaveGranted: grants, ...tables };
    this.#home = new Home<number>(this.#homeWorld(), options);
    for (const { id } of this.#sim.nodes) {
      if (id === this.id) continue;
      const send = (frame: HolderFrame<number>): void => this.#links.get(id)?.send({ to: 'home', frame });
      const world = { nowMs: () => this.#nowMs, send, memory: this.#memory() };
      this.#holders.set(id, new Holder<number>(world, { times: rules.times, ...tables }));
    }
    this.#keepTicking(this.#life);
  }

  /** Its processes live on with what they have, or the host is gone with them. */
  crash(what: 'process' | 'host'): void {
    if (!this.isAlive) return;
    this.#sim.note(`the ${what} of node ${this.id} dies`);
    this.isAlive = false;
    this.#sim.losses.forget((block, node) => node === this.id || (what === 'host' && this.#isHomeOf(block)));
    this.#home = undefined;
    this.#holders.clear();
    this.#links.clear();
    this.#inbox = [];
    this.#sim.cutLinksOf(this.id);
    for (const mapped of this.#mapped.values()) mapped.work++;
    if (what === 'host') this.#loseMemory();
    this.#sim.timeline.after(this.#sim.random.pick([5, 50, 300]), () => this.#restart());
  }

  #loseMemory(): void {
    this.#waiting = [];
    for (const [block, mapped] of this.#mapped) {
      mapped.access = 'none';
      if (this.#isHomeOf(block)) this.#atHome.set(block, this.#onDisk.get(block) ?? 0);
    }
  }

  /** What the host still has of own blocks is as new as before; of others, nothing is used any more. */
  #restart(): void {
    this.#sim.note(`node ${this.id} starts again`);
    for (const [block, mapped] of this.#mapped) {
      if (this.#isHomeOf(block) && mapped.access !== 'none') this.#atHome.set(block, mapped.value);
      mapped.access = 'none';
    }
    this.#heldUntilMs.clear();
    this.#stalledUntilMs = 0;
    this.start({ mayHaveGranted: true });
    for (const { block, access } of this.#waiting) this.#do(() => this.#fault(block, access));
  }

  /** SIGSTOP: its processes go on. */
  stall(ms: number): void {
    this.#sim.note(`node ${this.id} is stopped for ${ms} ms`);
    this.#stalledUntilMs = this.#sim.timeline.nowMs + ms;
    this.#sim.timeline.after(ms, () => this.#drain());
  }

  linkUp(peer: number, send: (frame: Frame) => void): void {
    this.#do(() => {
      this.#links.set(peer, { id: this.#nextLink++, send });
      this.#holders.get(peer)?.linkUp();
    });
  }

  endTo(peer: number): LinkEnd {
    const life = this.#life;
    const whileAlive = (run: () => void): void => {
      if (life === this.#life) this.#do(run);
    };
    return {
      receive: (frame) => whileAlive(() => this.#receive(peer, frame as Frame)),
      down: () =>
        whileAlive(() => {
          const link = this.#links.get(peer);
          this.#links.delete(peer);
          this.#holders.get(peer)?.linkDown();
          if (link !== undefined) this.#home?.linkDown(link.id);
        }),
    };
  }

  assertNobodyWaits(): void {
    const [one] = this.#waiting;
    if (one === undefined) return;
    const home = this.#sim.homeOf(one.block);
    const at = this.#isHomeOf(one.block)
      ? this.#home?.cache.state(one.block)
      : this.#holders.get(home.id)?.cache.state(one.block);
    throw new Error(`node ${this.id} waits to ${one.access} ${one.block} for ever, in state ${at}`);
  }

  #receive(peer: number, { to, frame }: Frame): void {
    this.#sim.messages++;
    const link = this.#links.get(peer)?.id ?? -1;
    if (to === 'home') this.#home?.receive(link, frame as HolderFrame<number>);
    else this.#holders.get(peer)?.receive(frame as HomeFrame<number>);
  }

  /** Something for the node itself to do, when it runs. */
  #do(run: () => void): void {
    if (!this.isAlive) return;
    this.#inbox.push(run);
    this.#drain();
  }

  #drain(): void {
    while (this.isAlive && this.#sim.timeline.nowMs >= this.#stalledUntilMs) {
      const run = this.#inbox.shift();
      if (run === undefined) return;
      run();
      this.#publish();
    }
  }

  #publish(): void {
    for (const [peer, holder] of this.#holders) this.#heldUntilMs.set(peer, holder.heldUntilMs ?? 0);
    if (!this.#isOpen && this.#home?.isOpen === true) this.#open();
  }

  /** The home has its blocks for itself. */
  #open(): void {
    this.#isOpen = true;
    for (const [block, mapped] of this.#mapped) {
      if (!this.#isHomeOf(block)) continue;
      this.#sim.assertUnused(block, this.id);
      const value = this.#atHome.get(block) ?? 0;
      if (value !== this.#sim.newest[block]) {
        this.#sim.lost++;
        this.#sim.losses.lost(block);
      }
      Object.assign(mapped, { access: 'write', value });
      this.#sim.newest[block] = value;
      this.#sim.note(`node ${this.id} has ${value} in its block ${block}`);
    }
  }

  #keepTicking(life: number): void {
    if (life !== this.#life || !this.isAlive) return;
    this.#do(() => {
      this.#publish();
      for (const holder of this.#holders.values()) holder.tick();
      this.#home?.tick();
    });
    this.#sim.timeline.after(this.#sim.rules.times.heartbeatMs / 4, () => this.#keepTicking(life));
  }

  #fault(block: number, access: 'read' | 'write'): void {
    if (this.#isHomeOf(block)) this.#home?.fault(block, access);
    else this.#holders.get(this.#sim.homeOf(block).id)?.fault(block, access);
  }

  #homeWorld(): ConstructorParameters<typeof Home<number>>[0] {
    const sim = this.#sim;
    return {
      nowMs: () => this.#nowMs,
      send: (id, frame) => {
        for (const link of this.#links.values()) if (link.id === id) link.send({ to: 'holder', frame });
      },
      memory: this.#memory(),
      load: (block) => this.#atHome.get(block) ?? 0,
      store: (block, bytes) => {
        this.#atHome.set(block, bytes);
        this.#onDisk.set(block, bytes);
      },
      reverted: (block, session) => {
        sim.note(`what session ${session} of node ${this.id} stored into ${block} is lost`);
        sim.assertUnused(block);
        sim.lost++;
        sim.newest[block] = this.#atHome.get(block) ?? 0;
      },
      cleared: (block) => {
        sim.note(`block ${block} is cleared`);
        sim.assertUnused(block);
        this.#atHome.set(block, sim.nextValue());
        sim.newest[block] = this.#atHome.get(block) as number;
      },
      ended: (session) => sim.note(`session ${session} of node ${this.id} is over`),
    };
  }

  #memory(): Memory<number> {
    const sim = this.#sim;
    const begin = (block: number, access: Access): void => {
      const mapped = this.#block(block);
      const work = ++mapped.work;
      sim.timeline.after(sim.random.between(0.01, 2), () =>
        this.#do(() => {
          if (mapped.work !== work) return;
          if (mapped.access !== 'none') mapped.access = access;
          sim.note(`node ${this.id} may ${access} ${block} from here`);
          if (this.#isHomeOf(block)) this.#home?.done(block, mapped.value);
          else this.#holders.get(sim.homeOf(block).id)?.done(block, mapped.value);
        }),
      );
    };
    return {
      drop: (block) => begin(block, 'none'),
      protect: (block) => begin(block, 'read'),
      install: (block, value, access) => {
        Object.assign(this.#block(block), { access, value });
        sim.note(`node ${this.id} may ${access} ${block}, which is ${value}`);
        this.#publish();
        sim.assertOneWriter(block);
      },
      allow: (block) => {
        this.#block(block).access = 'write';
        sim.note(`node ${this.id} may write ${block}, which it has`);
        sim.assertOneWriter(block);
      },
      read: (block) => this.#block(block).value,
      wake: (block) => this.#retry(block),
      fail: (block) => {
        this.#waiting = this.#waiting.filter((w) => w.block !== block);
      },
      lose: (block) => {
        sim.note(`node ${this.id} has lost what it stored into ${block}`);
        sim.losses.said(block, this.id);
      },
    };
  }

  /** Who waits for the block tries again: in a moment, when others may have been faster. */
  #retry(block: number): void {
    const woken = this.#waiting.filter((w) => w.block === block);
    this.#waiting = this.#waiting.filter((w) => w.block !== block);
    const retry = (): void => {
      for (const { access } of woken) this.access(block, access);
    };
    this.#sim.timeline.after(this.#sim.random.between(0, 0.3), retry);
  }
}
