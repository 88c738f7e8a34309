/**
 * Files that move between nodes while their processes use them, all by chance from one seed; the protocol
 * itself is the code that runs over TCP: of blocks (`Home`, `Holder`), and of moves (`Leading`, `Moving`,
 * `Taken`, `HandingOver`).
 *
 * Node 0 is the coordinator. Between two nodes there are two links, one for each as a user of the other's
 * files: each gives order, and they give none between them. After every access this holds:
 * INVARIANT: who reads gets what was stored last, wherever that was.
 * INVARIANT: when a process can store into a block, no process of another node can read it.
 * INVARIANT: who can use a block knows its file as it is: which blocks of it there are.
 * Losses of nodes are the exception that the protocol reports. In the end, when nothing breaks any more,
 * nobody waits, every node knows the home of every file, nothing is on its way, and what was lost was said
 * to be. Nodes that stop when they are asked to lose nothing.
 */
import type { LeaseTimes, MovingTimes } from 'cluster-fs/coherence';
import { type Random, randomOf } from '../../random.mjs';
import { Losses } from '../losses.ts';
import { Link, type LinkEnd } from '../network.ts';
import { RunLog } from '../run-log.ts';
import { Timeline } from '../timeline.ts';
import type { MoveRule } from './broken-moves.ts';
import type { Layout } from './layouts.ts';
import { clientEnd, serverEnd } from './link-ends.ts';
import { MovingNode } from './moving-node.ts';

export const coordinator = 0;

/** How often what goes wrong, in a millisecond, on average. */
export interface Faults {
  readonly linkBreaks: number;
  readonly partitions: number;
  readonly stalls: number;
  readonly crashes: number;
  /** A node is asked to stop, or its files are moved away. */
  readonly stops: number;
  /** A file grows, shrinks, or gets a hole. */
  readonly resizes: number;
  /** A node stops using a file. */
  readonly idles: number;
  /** How often the pages come late, or never, that a file needs for who may store anywhere; of 1. */
  readonly lateFills: number;
  readonly delayMs: number;
}

export const someFaults: Faults = {
  linkBreaks: 0.01,
  partitions: 0.004,
  stalls: 0.004,
  crashes: 0.002,
  stops: 0.003,
  resizes: 0.01,
  idles: 0.02,
  lateFills: 0,
  delayMs: 3,
};

export interface Options {
  readonly seed: number;
  readonly nodes?: number;
  readonly files?: number;
  readonly blocksPerFile?: number;
  /** How long things go wrong. */
  readonly chaosMs?: number;
  readonly faults?: Partial<Faults>;
  readonly broken?: MoveRule;
  /** Whether all messages are among the steps that are told when something is found. */
  readonly isTraced?: boolean;
}

export interface Outcome {
  readonly accesses: number;
  readonly messages: number;
  readonly moves: number;
  /** Blocks of which something was lost with a node, as the protocol said. */
  readonly lost: number;
  /** The same for the same seed. */
  readonly hash: number;
}

/** Rejects with what it finds, the seed and the last steps. */
export async function simulateMoves(options: Options): Promise<Outcome> {
  const simulation = new MovesSimulation(options);
  try {
    return await simulation.run();
  } catch (error) {
    const steps = simulation.log.last(options.isTraced === true ? undefined : 60);
    throw new Error(`seed ${options.seed}: ${(error as Error).message}\n  ${steps}`, { cause: error });
  }
}

export class MovesSimulation {
  readonly timeline = new Timeline();
  readonly log = new RunLog(this.timeline);
  readonly random: Random;
  readonly faults: Faults;
  readonly times: LeaseTimes = { leaseMs: 100, heartbeatMs: 20, cutOffMs: 10 };
  readonly movingTimes: MovingTimes = { takeMs: 6, pollMs: 20, quietMs: 150, abandonedMs: 200 };
  /** How long is waited for a block that is asked for. */
  readonly patienceMs = 300;
  readonly nodeCount: number;
  readonly files: number;
  readonly blocks: number;
  readonly #blocksPerFile: number;
  readonly nodes: MovingNode[];
  readonly losses = new Losses();
  /** What was stored last into each block. */
  readonly newest: number[];
  /** How each file lies in truth, as its home says. */
  readonly layouts: Layout[];
  #stored = 0;
  isCalm = false;
  #isSettling = false;
  #failure: { readonly error: unknown } | undefined;
  accesses = 0;
  messages = 0;
  moves = 0;
  lost = 0;
  readonly #chaosMs: number;
  readonly #isTraced: boolean;
  readonly #broken: MoveRule | undefined;
  /** By who uses it as a client, and whom. */
  readonly #links = new Map<string, Link>();
  /** Each kind of event has its own: the others are the same without it. */
  readonly #chance: Readonly<Record<'stops' | 'resizes' | 'idles' | 'fills', Random>>;
  /** Pairs of nodes that cannot reach each other, until when. */
  readonly #apart = new Map<string, number>();

  constructor({
    seed,
    nodes = 3,
    files = 2,
    blocksPerFile = 2,
    chaosMs = 500,
    faults = {},
    isTraced = false,
    broken,
  }: Options) {
    this.#isTraced = isTraced;
    this.#broken = broken;
    this.random = randomOf(seed);
    this.#chance = {
      stops: randomOf(seed ^ 0x5709),
      resizes: randomOf(seed ^ 0x512e),
      idles: randomOf(seed ^ 0x1d1e),
      fills: randomOf(seed ^ 0xf111),
    };
    this.faults = { ...someFaults, ...faults };
    this.nodeCount = nodes;
    this.files = files;
    this.#blocksPerFile = blocksPerFile;
    this.blocks = files * blocksPerFile;
    this.#chaosMs = chaosMs;
    this.layouts = Array.from({ length: files }, (_, file) => ({
      version: 0,
      present: new Set(this.blocksOf(file)),
    }));
    this.newest = Array.from({ length: this.blocks }, () => 0);
    this.nodes = Array.from({ length: nodes }, (_, id) => new MovingNode(this, id));
  }

  async run(): Promise<Outcome> {
    for (const node of this.nodes) node.start({ isFirst: true, mayHaveGranted: false });
    for (const { host } of this.nodes) host.feed = this.node(coordinator).life;
    this.#keepLinked();
    for (const { id } of this.nodes) this.#keepAccessing(id);
    this.#keepMoving();
    this.#keepBreaking();
    if (this.faults.stops > 0) this.#keepStopping();
    if (this.hasSizes) this.#keepResizing();
    if (this.faults.idles > 0) this.#keepIdling();
    await this.#until(this.#chaosMs);
    this.#calm();
    await this.#rest(15);
    // Everybody can use everything.
    for (const node of this.nodes)
      for (let block = 0; block < this.blocks; block++) node.access(block, 'write');
    await this.#rest(5);
    this.losses.assertAllSaid();
    for (let block = 0; block < this.blocks; block++) this.assertOneWriter(block);
    await this.#giveAllBack();
    const { accesses, messages, moves, lost } = this;
    return { accesses, messages, moves, lost, hash: this.log.hash };
  }

  /** What nobody uses any more goes home: blocks, then rights. */
  async #giveAllBack(): Promise<void> {
    const rights = (): number => this.nodes.reduce((sum, { lending }) => sum + lending.rights, 0);
    for (let turn = 0; turn < 10 && rights() > 0; turn++) {
      for (const node of this.nodes) for (let file = 0; file < this.files; file++) node.idle(file);
      await this.#until(this.timeline.nowMs + this.times.leaseMs / 2);
    }
    if (rights() > 0) throw new Error(`${rights()} rights are left that nobody uses`);
    if (this.nodes.some(({ lending }) => lending.isAnyKept)) throw new Error('a file is kept for nobody');
  }

  /** Lets time pass until nothing is left to be done. Throws what is, when that takes more leases. */
  async #rest(mostLeases: number): Promise<void> {
    const { leaseMs } = this.times;
    const endMs = this.timeline.nowMs + mostLeases * leaseMs;
    for (;;) {
      await this.#until(Math.min(endMs, this.timeline.nowMs + leaseMs / 4));
      if (this.nodes.every((node) => node.toDo === undefined)) return;
      for (const { toDo } of this.nodes)
        if (toDo !== undefined && this.timeline.nowMs >= endMs) throw new Error(toDo);
    }
  }

  async #until(endMs: number): Promise<void> {
    while (this.timeline.step(endMs)) {
      while (this.#isSettling) await this.#takeTurns();
      if (this.#failure !== undefined) throw this.#failure.error;
    }
  }

  /** A promise is settled, or one is new: who waits for it goes on before anything else happens. */
  settles(): void {
    this.#isSettling = true;
  }

  /** As many as any chain of promises in a node needs; turns of the event loop would take far longer. */
  async #takeTurns(): Promise<void> {
    this.#isSettling = false;
    for (let turn = 0; turn < 16; turn++) await undefined;
  }

  get hasSizes(): boolean {
    return this.faults.resizes > 0;
  }

  layout(file: number): Layout {
    return this.layouts[file] as Layout;
  }

  holds(rule: MoveRule): boolean {
    return rule !== this.#broken;
  }

  /** Of a block something is lost with a node. */
  loses(block: number): void {
    this.lost++;
    const { crashes, stalls, partitions, linkBreaks } = this.faults;
    if (crashes + stalls + partitions + linkBreaks === 0)
      this.fail(new Error(`what was stored into ${block} is lost, and nothing has broken`));
  }

  /** What was found by somebody whom nobody asked. */
  fail(error: unknown): void {
    this.#failure ??= { error };
  }

  node(id: number): MovingNode {
    return this.nodes[id] as MovingNode;
  }

  fileOf(block: number): number {
    return Math.floor(block / this.#blocksPerFile);
  }

  blocksOf(file: number): number[] {
    const first = file * this.#blocksPerFile;
    return Array.from({ length: this.#blocksPerFile }, (_, i) => first + i);
  }

  /** A value that no block ever had. */
  nextValue(): number {
    return ++this.#stored;
  }

  /** How long it takes to fill a file, and whether there is no space for that. */
  nextFill(): { readonly ms: number; readonly fails: boolean } {
    const random = this.#chance.fills;
    if (!random.happens(this.faults.lateFills)) return { ms: 0, fails: false };
    return { ms: random.between(1, 60), fails: random.happens(0.1) };
  }

  /** Whether processes of a node that gives a file away have it open to read alone. */
  usesToRead(): boolean {
    return this.faults.lateFills > 0 && this.#chance.fills.happens(0.3);
  }

  note(what: string): void {
    this.log.note(what);
  }

  /** For whoever looks for what a seed has found: every message as it arrives. */
  trace(from: number, to: number, frame: unknown): void {
    if (!this.#isTraced) return;
    const said = JSON.stringify(frame);
    if (!said.includes('"ping"') && !said.includes('"pong"')) this.log.trace(`${from} -> ${to} ${said}`);
  }

  cutLink(client: number, server: number): void {
    this.#links.get(`${client}-${server}`)?.cut();
  }

  cutLinksOf(id: number): void {
    for (const { id: other } of this.nodes) this.#cut(id, other);
  }

  /** Nobody can come to a node any more. */
  cutLinksTo(id: number): void {
    for (const { id: other } of this.nodes) this.cutLink(other, id);
  }

  #cut(a: number, b: number): void {
    this.#links.get(`${a}-${b}`)?.cut();
    this.#links.get(`${b}-${a}`)?.cut();
  }

  assertOneWriter(block: number): void {
    const using = this.nodes.map(({ host }) => host.accessTo(block));
    const writer = using.indexOf('write');
    if (writer === -1) return;
    const other = using.findIndex((access, id) => id !== writer && access !== 'none');
    if (other !== -1)
      this.fail(new Error(`node ${writer} may store into ${block}, and node ${other} may use it`));
  }

  /** Nobody can use the block as it was: it may be something else. */
  assertUnused(block: number, except?: number): void {
    for (const { id, host } of this.nodes) {
      const access = id === except ? 'none' : host.accessTo(block);
      if (access !== 'none')
        this.fail(new Error(`node ${id} can still ${access} block ${block}, which is taken back`));
    }
  }

  #keepLinked(): void {
    for (const a of this.nodes)
      for (const b of this.nodes) {
        const isApart = (this.#apart.get(pairOf(a.id, b.id)) ?? 0) > this.timeline.nowMs;
        const isUp = this.#links.get(`${a.id}-${b.id}`)?.isUp === true;
        const mayUse = b.isServing && a.mayUse(b.id);
        if (a !== b && !isApart && a.isAlive && b.isAlive && mayUse && !isUp) this.#link(a, b);
      }
    this.timeline.after(this.random.between(2, 20), () => this.#keepLinked());
  }

  #link(client: MovingNode, server: MovingNode): void {
    const ends: [LinkEnd | undefined, LinkEnd | undefined] = [undefined, undefined];
    const lazily = (i: 0 | 1): LinkEnd => ({
      receive: (frame) => ends[i]?.receive(frame),
      down: () => ends[i]?.down(),
    });
    const link = new Link(this.timeline, this.random, { ...this.faults, loses: 0, reorders: 0 }, [
      lazily(0),
      lazily(1),
    ]);
    this.#links.set(`${client.id}-${server.id}`, link);
    const here = clientEnd(client, server.id);
    ends[0] = here;
    ends[1] = serverEnd(
      server,
      client.id,
      (frame) => link.send(1, frame),
      () => link.cut(),
    );
    here.up((frame) => link.send(0, frame));
  }

  #keepAccessing(id: number): void {
    if (this.isCalm) return;
    const { random } = this;
    const node = this.node(id);
    const block = random.below(this.blocks);
    const kind = random.fraction();
    if (kind < 0.55) node.access(block, 'read');
    else if (kind < 0.92) node.access(block, 'write');
    else if (kind < 0.96) node.evict(block);
    else node.flush(block);
    this.timeline.after(random.between(0.1, 8), () => this.#keepAccessing(id));
  }

  #keepMoving(): void {
    if (this.isCalm) return;
    const { random } = this;
    this.node(coordinator).move(random.below(this.files), random.below(this.nodeCount));
    this.timeline.after(random.between(1, 40), () => this.#keepMoving());
  }

  #keepBreaking(): void {
    if (this.isCalm) return;
    const { random, faults } = this;
    const node = random.pick(this.nodes);
    const other = random.pick(this.nodes);
    const stepMs = 2;
    const happens = (perMs: number): boolean => random.happens(perMs * stepMs);
    if (happens(faults.linkBreaks)) this.#links.get(`${node.id}-${other.id}`)?.cut();
    if (happens(faults.partitions) && node !== other) this.#part(node.id, other.id);
    if (happens(faults.stalls)) node.stall(random.pick([5, 30, 150, 400]));
    if (happens(faults.crashes)) {
      const what = random.pick(['process', 'host'] as const);
      // What has been begun by then is done: nothing of a node goes on after its death.
      this.timeline.after(0, () => node.crash(what));
    }
    this.timeline.after(stepMs, () => this.#keepBreaking());
  }

  /** Half of the time a node that a file is on its way from, or to. */
  #keepStopping(): void {
    if (this.isCalm) return;
    const random = this.#chance.stops;
    const stepMs = 2;
    if (random.happens(this.faults.stops * stepMs)) {
      const ways = this.node(coordinator).leading?.ways ?? [];
      const moving = [...ways].flatMap(({ from, to }) => [from, to]);
      const id =
        moving.length > 0 && random.happens(0.5) ? random.pick(moving) : random.below(this.nodeCount);
      const what = random.pick(['stored', 'emptied', 'drained'] as const);
      if (what === 'drained') this.node(coordinator).drain(id);
      else this.node(id).stop(id === coordinator ? 'stored' : what);
    }
    this.timeline.after(stepMs, () => this.#keepStopping());
  }

  #keepResizing(): void {
    if (this.isCalm) return;
    const random = this.#chance.resizes;
    const stepMs = 2;
    if (random.happens(this.faults.resizes * stepMs)) {
      const file = random.below(this.files);
      const blocks = this.blocksOf(file);
      const block = random.pick(blocks);
      const what = random.pick(['truncate', 'grow', 'punch', 'fill'] as const);
      const change = (present: Set<number>): void => {
        if (what === 'punch') present.delete(block);
        else if (what === 'fill') present.add(block);
        else
          for (const each of blocks)
            if (each >= block && what === 'truncate') present.delete(each);
            else if (each <= block && what === 'grow') present.add(each);
      };
      for (const node of this.nodes) node.changeLayout(file, change);
    }
    this.timeline.after(stepMs, () => this.#keepResizing());
  }

  #keepIdling(): void {
    if (this.isCalm) return;
    const random = this.#chance.idles;
    const stepMs = 2;
    if (random.happens(this.faults.idles * stepMs)) random.pick(this.nodes).idle(random.below(this.files));
    this.timeline.after(stepMs, () => this.#keepIdling());
  }

  #part(a: number, b: number): void {
    const forMs = this.random.pick([10, 60, 130, 300]);
    // One that nobody can reach: its cable is pulled.
    const from = this.random.happens(0.5) ? this.nodes.map(({ id }) => id) : [b];
    for (const other of from) {
      if (other === a) continue;
      this.note(`nodes ${a} and ${other} cannot reach each other for ${forMs} ms`);
      this.#apart.set(pairOf(a, other), this.timeline.nowMs + forMs);
      this.#cut(a, other);
    }
  }

  /** From here nothing goes wrong any more. */
  #calm(): void {
    this.isCalm = true;
    this.#apart.clear();
    this.note('calm');
  }
}

const pairOf = (a: number, b: number): string => `${Math.min(a, b)}-${Math.max(a, b)}`;
