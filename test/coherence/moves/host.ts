/**
 * What a host of the simulation has, and what outlives its node: its processes with their pages, what the
 * home has beside those (`shadow`), its disk, and what the metadata store of the node knows of files.
 */
import type { Layout } from './layouts.ts';
import { coordinator, type MovesSimulation } from './simulation.ts';

export type Access = 'none' | 'read' | 'write';

/** A block in the pages of the host. */
export interface Page {
  /** What processes can do without asking their node. */
  access: Access;
  value: number;
  /** Nothing is there: who touches it waits for the node. */
  isAbsent: boolean;
}

interface Waiting {
  readonly block: number;
  readonly access: 'read' | 'write';
}

/** Processes of a host that wait for a block. */
const mostWaiting = 2;
/** What is where nothing is: no block ever had it. */
const nothing = -1;
/** The home of a file of which the node has not heard. */
export const unknown = -1;

export class Host {
  readonly id: number;
  readonly #sim: MovesSimulation;
  /** Its clock goes a little faster or slower, and began some time ago. */
  readonly #clock: { readonly rate: number; readonly startMs: number };
  readonly pages: readonly Page[];
  readonly shadow = new Map<number, number>();
  readonly disk = new Map<number, number>();
  /** By file, as the node has heard it last. */
  readonly homes: number[];
  /** The same: which blocks of them are no holes. */
  readonly layouts: Layout[];
  /** Of files that are given away: whose lease processes here need. */
  readonly shownHomes = new Map<number, number>();
  /** Files that it has all of, and the move by which it may be their home. */
  readonly candidates = new Map<number, number>();
  /** By node, in shared memory: until when its blocks may be used; 0: nothing of it is here. */
  readonly heldUntilMs = new Map<number, number>();
  /** The last change of homes that was applied here, and the life of the coordinator that said so. */
  sequence = 0;
  feed = -1;
  waiting: Waiting[] = [];
  /** Those of a node that has stopped are gone, and others come when it is started again. */
  #hasProcesses = true;
  /** What the node does when a process touches what it may not. */
  onTouch: (block: number, access: 'read' | 'write') => void = () => undefined;

  constructor(sim: MovesSimulation, id: number) {
    this.#sim = sim;
    this.id = id;
    this.#clock = { rate: sim.random.between(0.991, 1.009), startMs: sim.random.between(0, 1e6) };
    this.pages = Array.from({ length: sim.blocks }, () => ({
      access: 'none' as Access,
      value: nothing,
      isAbsent: true,
    }));
    this.homes = Array.from({ length: sim.files }, (_, file) => file % sim.nodeCount);
    this.layouts = [...sim.layouts];
    for (let block = 0; block < sim.blocks; block++) {
      if (!this.isOwn(sim.fileOf(block))) continue;
      Object.assign(this.page(block), { value: 0, isAbsent: false });
      this.disk.set(block, 0);
    }
  }

  get nowMs(): number {
    return this.#clock.startMs + this.#sim.timeline.nowMs * this.#clock.rate;
  }

  page(block: number): Page {
    return this.pages[block] as Page;
  }

  layout(file: number): Layout {
    return this.layouts[file] as Layout;
  }

  /** Whether the block is no hole, as far as is known here. */
  isThere(block: number): boolean {
    return this.layout(this.#sim.fileOf(block)).present.has(block);
  }

  isOwn(file: number): boolean {
    return this.homes[file] === this.id || (!this.#sim.holds('commit') && this.candidates.has(file));
  }

  /** Nothing of the block is here any more. */
  punch(block: number): void {
    Object.assign(this.page(block), { access: 'none', value: nothing, isAbsent: true });
  }

  /** What a process of this host can do with a block now, without asking anybody. */
  accessTo(block: number): Access {
    const { access } = this.page(block);
    if (!this.#hasProcesses || !this.isThere(block)) return 'none';
    const file = this.#sim.fileOf(block);
    const home = this.shownHomes.get(file) ?? (this.homes[file] as number);
    if (access === 'none' || home === this.id) return access;
    const untilMs = this.heldUntilMs.get(home) ?? 0;
    const isHeld = untilMs === 0 || this.nowMs < untilMs + this.#sim.times.cutOffMs;
    return isHeld ? access : 'none';
  }

  access(block: number, access: 'read' | 'write', isAlive: boolean): void {
    if (!this.#hasProcesses || !this.isThere(block)) return;
    const may = this.accessTo(block);
    if (may === 'none' || (access === 'write' && may === 'read')) {
      // Some processes of a host wait for a block, and not more with every touch.
      if (this.waiting.filter((each) => each.block === block).length >= mostWaiting) return;
      this.waiting.push({ block, access });
      const { access: mapped } = this.page(block);
      // Paused: the process itself looks again, and nobody else hears of it.
      if (may === 'none' && mapped !== 'none') this.#lookAgain(block);
      else this.onTouch(block, access);
      return;
    }
    const sim = this.#sim;
    const page = this.page(block);
    sim.accesses++;
    sim.assertOneWriter(block);
    const file = sim.fileOf(block);
    if (this.layout(file) !== sim.layout(file))
      throw new Error(`node ${this.id} uses ${block}, and does not know file ${file} as it is`);
    if (page.value !== sim.newest[block])
      throw new Error(`node ${this.id} sees ${page.value} in ${block}, and ${sim.newest[block]} was stored`);
    if (access === 'read') return;
    page.value = sim.nextValue();
    sim.newest[block] = page.value;
    if (this.isOwn(file)) sim.losses.stored(block, undefined);
    else sim.losses.stored(block, isAlive ? this.id : undefined);
    sim.note(`node ${this.id} stores ${page.value} into ${block}`);
  }

  #lookAgain(block: number): void {
    this.#sim.timeline.after(this.#sim.random.between(1, 3), () => this.#sim.node(this.id).retry(block));
  }

  /** Who waits for the block, no more. */
  takeWaiting(block: number): Waiting[] {
    const woken = this.waiting.filter((each) => each.block === block);
    if (woken.length > 0) this.waiting = this.waiting.filter((each) => each.block !== block);
    return woken;
  }

  endProcesses(): void {
    this.#hasProcesses = false;
    this.waiting = [];
  }

  /** A node that has stopped, and left nothing here. */
  forgetAll(): void {
    this.disk.clear();
    this.shadow.clear();
    this.candidates.clear();
    this.homes.fill(unknown);
    this.feed = -1;
    for (const block of this.pages.keys()) this.punch(block);
  }

  /** The host itself is gone, and comes back with its disk. */
  loseMemory(): void {
    this.waiting = [];
    this.shadow.clear();
    for (const [block, page] of this.pages.entries()) {
      const stored = this.disk.get(block);
      const isAbsent = stored === undefined;
      Object.assign(page, { access: 'none', value: stored ?? nothing, isAbsent });
    }
  }

  /** A node starts here: what is its own, or may be, is in the pages; of others' files there is nothing. */
  restore(): void {
    if (!this.#hasProcesses) for (const page of this.pages) page.access = 'none';
    this.#hasProcesses = true;
    for (const [block, value] of this.shadow) Object.assign(this.page(block), { value, isAbsent: false });
    this.shadow.clear();
    this.heldUntilMs.clear();
    this.shownHomes.clear();
    // The coordinator leads no move of before.
    for (const file of [...this.candidates.keys()])
      if (this.isOwn(file) || this.id === coordinator) this.candidates.delete(file);
    for (const [block, page] of this.pages.entries()) {
      const file = this.#sim.fileOf(block);
      // Who maps what may be this node's goes on with that, as far as a lease lets him.
      if (!this.candidates.has(file)) page.access = 'none';
      const isKept = this.isOwn(file) || (this.candidates.has(file) && this.#sim.holds('candidate'));
      if (isKept) continue;
      this.punch(block);
      this.disk.delete(block);
    }
  }
}
