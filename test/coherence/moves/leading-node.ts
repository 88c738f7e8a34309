/** The coordinator of the simulation: it leads moves, and tells all nodes which home each file has. */
import { FsError } from '@cluster-fs/transport';
import { Leading, type MovedFile, type Progress, type Way } from 'cluster-fs/coherence';
import type { Change, Changes, Requests } from './frames.ts';
import type { Peer } from './lending.ts';
import type { MovingNode } from './moving-node.ts';

interface Follower {
  peer: Peer;
  isLinked: boolean;
  applied: number;
}

interface Waiting {
  readonly sequence: number;
  resolve(): void;
}

export class LeadingNode {
  readonly #node: MovingNode;
  readonly #leading: Leading;
  readonly #life: number;
  readonly #followers = new Map<string, Follower>();
  readonly #kept: Change[] = [];
  #waiting: Waiting[] = [];
  readonly #ways = new Map<number, Way>();

  constructor(node: MovingNode, life: number) {
    this.#node = node;
    this.#life = life;
    this.#leading = new Leading(
      {
        take: (file, { from, to }, signal) => this.#take({ ...file, from }, to, signal),
        give: (file, { from, to }) => this.#give({ ...file, to }, from),
        commit: (file, { to }) => this.#commit(file, to),
        moved: ({ ino }, { to }) => {
          if (to === node.id) node.moving.areOpen(ino);
        },
        gave: (id, { ino, move }) => {
          if (id === node.id) node.moving.gave({ ino, move });
          else node.neighbour(id).event({ kind: 'gave', ino, move });
        },
      },
      { firstMove: life * 1000 + 1 },
    );
  }

  /** What is not given away stays; resolves when of the rest all nodes know what became of it. */
  stop(): Promise<void> {
    this.#leading.stop();
    return this.#leading.settled();
  }

  isMoving(file: number, move?: number): boolean {
    return this.#leading.isMoving(file, move);
  }

  /** From where to where files are moved just now. */
  get ways(): Iterable<Way> {
    return this.#ways.values();
  }

  move(file: number, to: number): void {
    const { host, sim } = this.#node;
    const from = host.homes[file] as number;
    if (from === to || this.isMoving(file)) return;
    const abort = new AbortController();
    if (sim.random.happens(0.1))
      this.#node.after(sim.random.between(1, 30), () =>
        this.#node.settled(() => abort.abort(new FsError('ECANCELED', 'move', { why: 'somebody ended it' }))),
      );
    void this.#node.run(this.#lead(file, { from, to }, abort.signal));
  }

  /** Moves the files of a node to others; those that it cannot move stay. */
  async empty(from: number, isWanted: () => boolean): Promise<void> {
    const { host, sim } = this.#node;
    const others = sim.nodes.filter(({ id }) => id !== from);
    for (const [file, home] of [...host.homes.entries()]) {
      if (!isWanted()) return;
      if (home === from && host.homes[file] === from && !this.isMoving(file))
        await this.#lead(file, { from, to: sim.random.pick(others).id });
    }
  }

  async #lead(file: number, way: Way, signal?: AbortSignal): Promise<void> {
    const { sim } = this.#node;
    const { from, to } = way;
    this.#node.note(`moves file ${file} from ${from} to ${to}`);
    this.#ways.set(file, way);
    try {
      await this.#leading.lead({ ino: file, generation: 1 }, way, signal === undefined ? {} : { signal });
      sim.moves++;
      this.#node.note(`has moved file ${file} to ${to}`);
    } catch (error) {
      if (!(error instanceof FsError)) sim.fail(error);
      this.#node.note(`could not move file ${file} to ${to}: ${(error as FsError).message}`);
    } finally {
      this.#ways.delete(file);
    }
  }

  async #take(
    file: MovedFile & { readonly from: number },
    to: number,
    signal: AbortSignal | undefined,
  ): Promise<Progress> {
    if (to === this.#node.id) return this.#node.moving.take(file);
    const neighbour = this.#node.neighbour(to);
    await neighbour.link();
    const answer = neighbour.request('take', file);
    const aborted = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason));
    });
    return Promise.race([answer, aborted]);
  }

  async #give(file: MovedFile & { readonly to: number }, from: number): Promise<void> {
    if (from === this.#node.id) return this.#node.moving.give(file);
    const neighbour = this.#node.neighbour(from);
    await neighbour.link();
    await neighbour.request('give', file);
  }

  async #commit({ ino }: MovedFile, to: number): Promise<void> {
    const { host } = this.#node;
    const change = { sequence: ++host.sequence, file: ino, to, layout: host.layout(ino) };
    this.#node.note(`commits that node ${to} is the home of file ${ino}`);
    this.#node.layouts.committed(change);
    this.#node.rehomed(ino, to, true);
    await this.#tell(change);
    await this.#node.opened();
  }

  /** The coordinator has changed which blocks of a file of its own there are, or has heard of that. */
  commitLayout(file: number): Promise<void> {
    const { host } = this.#node;
    const to = host.homes[file] as number;
    const change = { sequence: ++host.sequence, file, to, layout: host.layout(file) };
    this.#node.layouts.committed(change);
    return this.#tell(change);
  }

  /** A home says how a file of its lies. Resolves when every node knows. */
  async content(home: number, { file, layout }: Requests['content']['fields']): Promise<void> {
    const { host, layouts } = this.#node;
    if (host.homes[file] !== home || host.layout(file).version === layout.version) return;
    layouts.apply({ file, layout });
    await this.commitLayout(file);
  }

  /** Resolves when every node knows it. */
  async #tell(change: Change): Promise<void> {
    this.#kept.push(change);
    const changes: Changes = { feed: this.#life, isWhole: false, changes: [change] };
    for (const { peer, isLinked } of this.#followers.values())
      if (isLinked) peer.link?.send({ kind: 'changes', changes });
    await new Promise<void>((resolve) => {
      this.#waiting.push({ sequence: change.sequence, resolve });
      this.#wake();
    });
  }

  /** A node asks for changes. */
  follow(peer: Peer, asked: { feed: number; sequence: number }, reply: (changes: Changes) => void): void {
    const { host } = this.#node;
    const feed = this.#life;
    const isWhole = asked.feed !== feed;
    const all = host.homes.map((to, file) => ({
      sequence: host.sequence,
      file,
      to,
      layout: host.layout(file),
    }));
    // Where a file has been meanwhile says nothing of what is at the node that asks.
    const isLast = ({ file, sequence }: Change): boolean =>
      !this.#kept.some((later) => later.file === file && later.sequence > sequence);
    const kept = this.#kept.filter((change) => change.sequence > asked.sequence && isLast(change));
    const changes = isWhole ? all : kept;
    const applied = isWhole ? host.sequence : asked.sequence;
    this.#followers.set(`${peer.id}/${peer.life}`, { peer, isLinked: true, applied });
    reply({ feed, isWhole, changes });
    this.#wake();
  }

  linkDown(id: number, life: number): void {
    const follower = this.#followers.get(`${id}/${life}`);
    if (follower !== undefined) follower.isLinked = false;
  }

  applied(id: number, life: number, sequence: number): void {
    const follower = this.#followers.get(`${id}/${life}`);
    if (follower !== undefined) follower.applied = Math.max(follower.applied, sequence);
    this.#wake();
  }

  /** The lease of a node is over: nobody waits for it. */
  gone(id: number, life: number): void {
    if (this.#followers.delete(`${id}/${life}`)) this.#wake();
  }

  #wake(): void {
    const applied = Math.min(...[...this.#followers.values()].map((follower) => follower.applied));
    const waiting = this.#waiting;
    this.#waiting = waiting.filter(({ sequence }) => sequence > applied);
    for (const { sequence, resolve } of waiting) if (sequence <= applied) this.#node.settled(resolve);
  }
}
