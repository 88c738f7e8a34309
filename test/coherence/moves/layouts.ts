/**
 * Which blocks of files are no holes, as a node of the simulation knows it: how its home changes that, as
 * truncation, growth and holes do (`Coordinator.alone`, own-content.ts), and how others hear of it.
 *
 *   at the home: nobody changes the file, or gets a block of it ──all copies are back──▶ changed
 *        ──▶ the coordinator knows ──▶ every node knows ──▶ answered
 *
 * What lies behind the end of a file is a hole, too.
 */
import { FsError } from '@cluster-fs/transport';
import { type Position, Positions } from 'cluster-fs/coherence';
import type { Change, Changes } from './frames.ts';
import type { MovingNode } from './moving-node.ts';
import { coordinator } from './simulation.ts';

export interface Layout {
  /** Another one with every change, at whichever home. */
  readonly version: number;
  readonly present: ReadonlySet<number>;
}

const pollMs = 1;

export class Layouts {
  readonly #node: MovingNode;
  readonly positions = new Positions();
  /** Files that are being changed here. */
  readonly changing = new Set<number>();
  /** Files of which the coordinator does not know what was done here. */
  readonly #untold = new Set<number>();
  #position: Position | undefined;

  constructor(node: MovingNode, { life, isFirst }: { readonly life: number; readonly isFirst: boolean }) {
    this.#node = node;
    // In the beginning all know everything.
    if (node.id === coordinator || isFirst)
      this.#begin({ feed: Uint8Array.of(life), sequence: node.host.sequence });
  }

  /** How far this node is in the changes of the coordinator. */
  get position(): Position | undefined {
    return this.#position;
  }

  #begin(position: Position): void {
    this.#position = position;
    this.positions.begin(position);
  }

  /** Whether nobody gets blocks of the file, since it is being changed. */
  isHeld(file: number): boolean {
    return this.changing.has(file) && this.#node.sim.holds('back');
  }

  /** Whether the node of that session knows the file as it is. */
  knows(file: number, session: number): boolean {
    const { sim } = this.#node;
    return !sim.hasSizes || !sim.holds('position') || this.positions.knows(file, session);
  }

  /** Changes which blocks of a file of this node there are. */
  async change(file: number, change: (present: Set<number>) => void): Promise<void> {
    const node = this.#node;
    const release = await node.hold(file);
    try {
      if (!node.host.isOwn(file) || node.isStopping) return;
      this.changing.add(file);
      while (node.sim.holds('back') && !this.#hasAll(file)) await node.pause(pollMs);
      await this.#commit(file, change);
    } finally {
      this.changing.delete(file);
      node.lending.home.release();
      release();
    }
  }

  /** Whether no other node has any of it. */
  #hasAll(file: number): boolean {
    const { lending, sim } = this.#node;
    const lacking = sim.blocksOf(file).filter((block) => !lending.mayStore(block));
    for (const block of lacking) lending.home.fault(block, 'write');
    return lacking.length === 0;
  }

  #commit(file: number, change: (present: Set<number>) => void): Promise<void> {
    const { host, sim, id, leading } = this.#node;
    const before = host.layout(file).present;
    const present = new Set(before);
    change(present);
    const layout = { version: sim.layout(file).version + 1, present };
    sim.layouts[file] = layout;
    host.layouts[file] = layout;
    this.#node.note(`changes file ${file}, which has ${[...present].join(' ')}`);
    for (const block of sim.blocksOf(file)) {
      if (present.has(block) === before.has(block)) continue;
      sim.losses.stored(block, undefined);
      sim.newest[block] = sim.nextValue();
      host.shadow.delete(block);
      if (present.has(block)) {
        const value = sim.newest[block] as number;
        Object.assign(host.page(block), { access: 'write', value, isAbsent: false });
        host.disk.set(block, value);
      } else this.#becomesHole(block);
    }
    return id === coordinator ? (leading?.commitLayout(file) ?? Promise.resolve()) : this.#tell(file);
  }

  #becomesHole(block: number): void {
    this.#node.host.punch(block);
    this.#node.host.disk.delete(block);
    this.#node.retry(block);
  }

  /** Resolves when the coordinator knows, and everybody; or when that takes too long. */
  async #tell(file: number): Promise<void> {
    this.#setUntold(file, true);
    this.#send(file);
    await this.told(file).catch((error: unknown) => {
      if (!(error instanceof FsError)) throw error;
    });
  }

  /** ECONNRESET when the coordinator cannot be told in time. */
  async told(file: number): Promise<void> {
    const { host, sim } = this.#node;
    const endMs = host.nowMs + sim.times.leaseMs;
    while (this.#untold.has(file)) {
      if (host.nowMs > endMs) throw new FsError('ECONNRESET', 'commit', { why: 'nobody hears of it' });
      await this.#node.pause(pollMs);
    }
  }

  #setUntold(file: number, isUntold: boolean): void {
    if (isUntold) this.#untold.add(file);
    else this.#untold.delete(file);
    this.positions.setUntold(file, isUntold && this.#node.sim.holds('told'));
  }

  #send(file: number): void {
    const { host } = this.#node;
    const layout = host.layout(file);
    const work = this.#node.neighbour(coordinator).request('content', { file, layout });
    this.#node.run(work).then(
      () => {
        if (host.layout(file) !== layout) return;
        this.#setUntold(file, false);
        this.#node.lending.home.release();
      },
      (error: unknown) => {
        // Over the next link it is sent again.
        if (!(error instanceof FsError)) throw error;
      },
    );
  }

  /** A link is up over which all has come: the coordinator may lack anything. */
  sendAll(): void {
    const { host, sim } = this.#node;
    for (let file = 0; file < sim.files; file++) if (host.isOwn(file)) this.#send(file);
  }

  /** The coordinator is about to say that: from here on who knows less gets no block of it. */
  hears({ feed, isWhole, changes }: Changes): void {
    const { host, sim, id } = this.#node;
    if (!sim.hasSizes) return;
    if (isWhole)
      this.positions.begin({
        feed: Uint8Array.of(feed),
        sequence: changes.at(-1)?.sequence ?? host.sequence,
      });
    else
      for (const { file, to, sequence } of changes)
        this.positions.committed({ inodes: [{ ino: file, home: to }], gone: [] }, id, sequence);
  }

  /** The coordinator says how a file lies. */
  apply({ file, layout }: Omit<Change, 'sequence' | 'to'>): void {
    const { host, sim } = this.#node;
    if (!sim.hasSizes) return;
    // What is in it is for its home to say.
    if (host.isOwn(file) || layout.version <= host.layout(file).version) return;
    const before = host.layout(file).present;
    host.layouts[file] = layout;
    for (const block of sim.blocksOf(file)) {
      if (layout.present.has(block) === before.has(block)) continue;
      this.#becomesHole(block);
    }
  }

  applied({ feed, isWhole, changes }: Changes): void {
    const { host, sim } = this.#node;
    if (!sim.hasSizes) return;
    this.#position = { feed: Uint8Array.of(feed), sequence: host.sequence };
    for (const { file, layout } of isWhole ? changes : [])
      if (host.isOwn(file) && host.layout(file).version !== layout.version) this.#setUntold(file, true);
    this.#wentOn();
  }

  /** At the coordinator: what was committed last is known here. */
  committed(change: Change): void {
    if (!this.#node.sim.hasSizes) return;
    this.positions.committed(
      { inodes: [{ ino: change.file, home: change.to }], gone: [] },
      coordinator,
      change.sequence,
    );
    this.#position = { feed: (this.#position as Position).feed, sequence: change.sequence };
    this.#wentOn();
  }

  #wentOn(): void {
    for (const neighbour of this.#node.neighbours) neighbour.wentOn();
    this.#node.lending.home.release();
  }
}
