/**
 * Some nodes, their processes and the links between them, all by chance from one seed; the protocol itself is
 * the code that runs over TCP.
 *
 * Each node is the home of some blocks, and uses those of the others. After every access this holds:
 * INVARIANT: who reads gets what was stored last, wherever that was.
 * INVARIANT: when a process can store into a block, no process of another node can read it.
 * Losses of nodes are the exception that the protocol reports: the block is what its home has of it, and
 * nobody can use it as it was. In the end, when nothing breaks any more, nobody waits, and all that was lost
 * was said to be.
 */
import type { CacheTable, DirectoryTable, HolderFrame, HomeFrame, LeaseTimes } from 'cluster-fs/coherence';
import { type Random, randomOf } from '../random.mjs';
import { Losses } from './losses.ts';
import { Link } from './network.ts';
import { RunLog } from './run-log.ts';
import { SimulatedNode } from './simulated-node.ts';
import { Timeline } from './timeline.ts';

export interface Rules {
  readonly times: LeaseTimes;
  /** What a home takes the times to be. */
  readonly homeTimes: LeaseTimes;
  readonly cacheTable?: CacheTable;
  readonly directoryTable?: DirectoryTable;
  /** Whether processes see by their own clocks that a lease is over. */
  readonly cutsOff: boolean;
  /** Whether a home that starts anew waits for the leases of its earlier life. */
  readonly waitsForOldLeases: boolean;
}

const times: LeaseTimes = { leaseMs: 100, heartbeatMs: 20, cutOffMs: 10 };
export const rules: Rules = { times, homeTimes: times, cutsOff: true, waitsForOldLeases: true };

/** How often what goes wrong, in a millisecond, on average. */
export interface Faults {
  readonly linkBreaks: number;
  readonly partitions: number;
  readonly stalls: number;
  readonly crashes: number;
  readonly delayMs: number;
  readonly loses: number;
  readonly reorders: number;
}

export const someFaults: Faults = {
  linkBreaks: 0.01,
  partitions: 0.002,
  stalls: 0.004,
  crashes: 0.002,
  delayMs: 3,
  loses: 0,
  reorders: 0,
};

export interface Options {
  readonly seed: number;
  readonly nodes?: number;
  readonly blocks?: number;
  /** How long things go wrong. */
  readonly chaosMs?: number;
  readonly rules?: Partial<Rules>;
  readonly faults?: Partial<Faults>;
}

export interface Outcome {
  readonly accesses: number;
  readonly messages: number;
  /** Blocks of which something was lost with a node, as the protocol said. */
  readonly lost: number;
  /** The same for the same seed. */
  readonly hash: number;
}

export interface Frame {
  readonly to: 'home' | 'holder';
  readonly frame: HolderFrame<number> | HomeFrame<number>;
}

/** Throws what it finds, with the seed and the last steps. */
export function simulate(options: Options): Outcome {
  const simulation = new Simulation(options);
  try {
    return simulation.run();
  } catch (error) {
    const steps = simulation.log.last(40);
    throw new Error(`seed ${options.seed}: ${(error as Error).message}\n  ${steps}`, { cause: error });
  }
}

export class Simulation {
  readonly timeline = new Timeline();
  readonly log = new RunLog(this.timeline);
  readonly random: Random;
  readonly rules: Rules;
  readonly faults: Faults;
  readonly blocks: number;
  readonly nodes: SimulatedNode[];
  readonly losses = new Losses();
  /** What was stored last into each block. */
  readonly newest: number[];
  #stored = 0;
  #isCalm = false;
  accesses = 0;
  messages = 0;
  lost = 0;
  readonly #chaosMs: number;
  readonly #links = new Map<string, Link>();
  /** Pairs of nodes that cannot reach each other, until when. */
  readonly #apart = new Map<string, number>();

  constructor({ seed, nodes = 3, blocks = 4, chaosMs = 600, rules: other = {}, faults = {} }: Options) {
    this.random = randomOf(seed);
    this.rules = { ...rules, ...other };
    this.faults = { ...someFaults, ...faults };
    this.blocks = blocks;
    this.#chaosMs = chaosMs;
    this.newest = Array.from({ length: blocks }, () => 0);
    this.nodes = Array.from({ length: nodes }, (_, id) => new SimulatedNode(this, id));
  }

  run(): Outcome {
    for (const node of this.nodes) node.start({ mayHaveGranted: false });
    this.#keepLinked();
    for (const { id } of this.nodes) this.#keepAccessing(id);
    this.#keepBreaking();
    this.timeline.run(this.#chaosMs);
    this.#calm();
    const { leaseMs } = this.rules.times;
    this.timeline.run(this.#chaosMs + 20 * leaseMs);
    for (const node of this.nodes) node.assertNobodyWaits();
    this.losses.assertAllSaid();
    for (let block = 0; block < this.blocks; block++) this.assertOneWriter(block);
    return { accesses: this.accesses, messages: this.messages, lost: this.lost, hash: this.log.hash };
  }

  homeOf(block: number): SimulatedNode {
    return this.nodes[block % this.nodes.length] as SimulatedNode;
  }

  /** A value that no block ever had. */
  nextValue(): number {
    return ++this.#stored;
  }

  note(what: string): void {
    this.log.note(what);
  }

  isLinked(a: number, b: number): boolean {
    return this.#links.get(pairOf(a, b))?.isUp === true;
  }

  cutLinksOf(id: number): void {
    for (const other of this.nodes) if (other.id !== id) this.#links.get(pairOf(id, other.id))?.cut();
  }

  assertOneWriter(block: number): void {
    const using = this.nodes.map((node) => node.accessTo(block));
    const writer = using.indexOf('write');
    if (writer === -1) return;
    const other = using.findIndex((access, id) => id !== writer && access !== 'none');
    if (other !== -1) throw new Error(`node ${writer} may store into ${block}, and node ${other} may use it`);
  }

  /** Nobody can use the block as it was: it may be something else. */
  assertUnused(block: number, except?: number): void {
    for (const { id } of this.nodes) {
      if (id === except) continue;
      const access = this.nodes[id]?.accessTo(block);
      if (access !== 'none')
        throw new Error(`node ${id} can still ${access} block ${block}, which is taken back`);
    }
  }

  #keepLinked(): void {
    for (const a of this.nodes) {
      for (const b of this.nodes) {
        const pair = pairOf(a.id, b.id);
        const isApart = (this.#apart.get(pair) ?? 0) > this.timeline.nowMs;
        if (a.id >= b.id || isApart || !a.isAlive || !b.isAlive || this.isLinked(a.id, b.id)) continue;
        const ends = [a.endTo(b.id), b.endTo(a.id)] as const;
        const link = new Link(this.timeline, this.random, this.faults, ends);
        this.#links.set(pair, link);
        a.linkUp(b.id, (frame) => link.send(0, frame));
        b.linkUp(a.id, (frame) => link.send(1, frame));
      }
    }
    this.timeline.after(this.random.between(2, 20), () => this.#keepLinked());
  }

  #keepAccessing(id: number): void {
    if (this.#isCalm) return;
    const { random } = this;
    const node = this.nodes[id] as SimulatedNode;
    const block = random.below(this.blocks);
    const kind = random.fraction();
    if (kind < 0.55) node.access(block, 'read');
    else if (kind < 0.9) node.access(block, 'write');
    else if (kind < 0.94) node.evict(block);
    else if (kind < 0.98) node.flush(block);
    else node.clear(block);
    this.timeline.after(random.between(0.1, 6), () => this.#keepAccessing(id));
  }

  #keepBreaking(): void {
    if (this.#isCalm) return;
    const { random, faults } = this;
    const node = random.pick(this.nodes);
    const other = random.pick(this.nodes);
    const stepMs = 2;
    const happens = (perMs: number): boolean => random.happens(perMs * stepMs);
    if (happens(faults.linkBreaks)) this.#links.get(pairOf(node.id, other.id))?.cut();
    if (happens(faults.partitions) && node !== other) this.#part(node.id, other.id);
    if (happens(faults.stalls)) node.stall(random.pick([5, 30, 150, 400]));
    if (happens(faults.crashes)) node.crash(random.pick(['process', 'host']));
    this.timeline.after(stepMs, () => this.#keepBreaking());
  }

  #part(a: number, b: number): void {
    const forMs = this.random.pick([10, 60, 130, 300]);
    this.note(`nodes ${a} and ${b} cannot reach each other for ${forMs} ms`);
    this.#apart.set(pairOf(a, b), this.timeline.nowMs + forMs);
    this.#links.get(pairOf(a, b))?.cut();
  }

  /** From here nothing goes wrong any more. */
  #calm(): void {
    this.#isCalm = true;
    this.#apart.clear();
    this.note('calm');
  }
}

const pairOf = (a: number, b: number): string => `${Math.min(a, b)}-${Math.max(a, b)}`;
