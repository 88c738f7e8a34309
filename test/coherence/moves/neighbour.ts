/** Another node, as one of the simulation uses it: the link there, requests, rights to files, blocks. */
import { FsError } from '@cluster-fs/transport';
import {
  asks,
  type CacheState,
  type HandedOver,
  HeldTags,
  Holder,
  type HomeFrame,
  type MovingNeighbour,
  type Position,
  readable,
  type TagReply,
  type TagRequest,
  Taken,
} from 'cluster-fs/coherence';
import type { Answer, FromServer, Requests, ToServer } from './frames.ts';
import type { MovingNode } from './moving-node.ts';
import { PageMemory } from './page-memory.ts';

/** The file has another home, or there is no space for it just now. */
const passing: ReadonlySet<string> = new Set(['EAGAIN', 'ENOSPC']);

interface Pending {
  resolve(reply: never): void;
  reject(error: unknown): void;
}

export class Neighbour implements MovingNeighbour<number, number> {
  readonly #node: MovingNode;
  readonly id: number;
  readonly memory: PageMemory;
  readonly holder: Holder<number>;
  readonly taken: Taken<number>;
  #send: ((frame: ToServer) => void) | undefined;
  readonly #pending = new Map<number, Pending>();
  #nextRequest = 0;
  #session: number | undefined;
  readonly #tags: HeldTags<number>;
  readonly #leaving = new Set<number>();
  /** How far the home knows this node to be, in which session, and over which link. */
  #said: { turn: number; session: number | undefined; position: Position } | undefined;
  /** The link has been away for longer than a lease. */
  #isAway = false;
  /** The node has said so, and does not come again. */
  hasLeft = false;
  /** Another with every link, and without one. */
  turn = 0;

  constructor(node: MovingNode, id: number) {
    this.#node = node;
    this.id = id;
    const { sim } = node;
    this.memory = new PageMemory(node, {
      done: (block, value) => {
        // What was stored since the fence was begun goes with what it was said of.
        if (this.holder.cache.state(block) === 'X') sim.losses.said(block, node.id);
        this.holder.done(block, value);
      },
      dropping: (block, value) => node.lending.keep(block, value),
      installed: (block) => this.taken.arrived(block),
      lost: (block) => {
        node.note(`has lost what it stored into ${block}`);
        sim.losses.said(block, node.id);
      },
    });
    this.holder = new Holder<number>(
      { nowMs: () => node.host.nowMs, send: (frame) => this.#say(frame), memory: this.memory },
      { times: sim.times },
    );
    this.#tags = new HeldTags<number>({
      newMap: <T>() => new Map<number, T>(),
      session: () => this.#session,
      said: () => this.holder.said,
      isWelcome: () => this.holder.isWelcome,
      generationOf: () => 0,
      ask: (asked) => this.#askForTag(asked),
      tell: (kind, tag) => this.event({ kind, tag }),
    });
    this.taken = new Taken<number>({
      holder: () => this.holder,
      inoOf: (block) => sim.fileOf(block),
      blocksOf: (file) => this.#blocksOf(file),
      withAbsent: (file) => new Set(this.#blocksOf(file).filter((block) => node.host.page(block).isAbsent)),
      may: (block, access) => this.#may(block, access),
      isOpen: (file) => this.#tags.isOpen(file, 'take'),
      open: (file) => this.#tags.open(file, 'take'),
      ask: (block, access) => this.#ask(block, access),
      changed: (block, waiting) => this.memory.changed(block, waiting?.inTime === true),
      inTime: (work) => node.inTime(work),
      session: () => this.session(),
      assertReachable: () => {
        if (this.#isAway) throw unreachable();
      },
      lose: (block) => sim.losses.said(block, node.id),
    });
  }

  session(): number | undefined {
    return this.holder.isIn ? this.#session : undefined;
  }

  get isLinked(): boolean {
    return this.#send !== undefined;
  }

  linkUp(send: (frame: ToServer) => void): void {
    this.#send = send;
    this.turn++;
    this.#isAway = false;
    this.holder.linkUp();
  }

  linkDown(): void {
    this.#send = undefined;
    const turn = ++this.turn;
    this.holder.linkDown();
    for (const { reject } of this.#pending.values()) this.#node.settled(() => reject(unreachable()));
    this.#pending.clear();
    this.#node.after(this.#node.sim.times.leaseMs, () => {
      if (turn !== this.turn) return;
      this.#isAway = true;
      this.memory.failRequests(unreachable());
    });
  }

  event(frame: ToServer): void {
    this.#send?.(frame);
  }

  request<N extends keyof Requests>(name: N, fields: Requests[N]['fields']): Promise<Requests[N]['reply']> {
    const send = this.#send;
    if (send === undefined) return Promise.reject(unreachable());
    const id = this.#nextRequest++;
    const answered = new Promise<Requests[N]['reply']>((resolve, reject) => {
      this.#pending.set(id, { resolve: resolve as Pending['resolve'], reject });
      send({ kind: 'request', id, name, fields } as ToServer);
    });
    return answered;
  }

  /** Resolves when there is a link; ECONNRESET when it does not come up in time. */
  async link(): Promise<void> {
    const endMs = this.#node.host.nowMs + this.#node.sim.times.leaseMs;
    while (this.#send === undefined) {
      if (this.#node.host.nowMs >= endMs) throw unreachable();
      await this.#node.pause(2);
    }
  }

  /** The node stops: what is here from there goes home, and the lease with it. */
  async leaveIt(): Promise<void> {
    await this.#giveUp().catch((error: unknown) => {
      if (!(error instanceof FsError)) throw error;
    });
    this.hasLeft = true;
    this.#node.sim.cutLink(this.#node.id, this.id);
  }

  async #giveUp(): Promise<void> {
    if (!this.isLinked) return;
    const { host, sim } = this.#node;
    const endMs = host.nowMs + sim.times.leaseMs;
    while (!this.holder.leave() && host.nowMs < endMs) await this.#node.pause(1);
    // What was asked of it meanwhile is answered.
    if (sim.holds('answered')) await this.request('describe', {});
    this.event({ kind: 'leaving' });
    await this.request('describe', {});
  }

  receive(frame: FromServer): void {
    switch (frame.kind) {
      case 'holder':
        this.#receive(frame.frame, frame.tag);
        return;
      case 'reply':
        this.#answered(frame.id, frame.answer);
        return;
      case 'tagClosed':
        this.#tags.closed(frame.tag);
        return;
      case 'changes':
        this.#node.followed(frame.changes);
    }
  }

  #answered(id: number, answer: Answer): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    this.#node.sim.settles();
    if ('error' in answer) pending?.reject(answer.error);
    else pending?.resolve(answer.reply as never);
  }

  #receive(frame: HomeFrame<number>, tag: number | undefined): void {
    if (frame.kind === 'welcome') {
      if (!this.holder.awaits(frame)) return;
      if (this.#session !== frame.session) this.#tags.forget();
      this.#session = frame.session;
    }
    if (frame.kind === 'message') {
      const file = this.#tags.inoOf(tag ?? -1);
      if (file === undefined)
        throw new Error(`node ${this.#node.id} is told of a file that it does not know`);
      // Who gave the file away goes on as its home.
      if (this.taken.isPrepared(file)) this.taken.reattach(file);
    }
    this.holder.receive(frame);
    if (frame.kind !== 'welcome') return;
    this.#tags.closeAgain();
    this.wentOn();
  }

  #say(frame: Parameters<ConstructorParameters<typeof Holder<number>>[0]['send']>[0]): void {
    if (frame.kind !== 'message') {
      this.event({ kind: 'home', frame, tag: undefined });
      return;
    }
    const { number, message } = frame.envelope;
    const { block, name } = message;
    const tag = this.#tags.of(this.#node.sim.fileOf(block), number);
    if (asks.has(name)) this.#sayPosition();
    this.event({ kind: 'home', frame, tag });
  }

  /** The home lends no blocks of files that this node does not know as they are. */
  #sayPosition(): void {
    const { turn } = this;
    const session = this.#session;
    const { position } = this.#node.layouts;
    if (!this.#node.sim.hasSizes || position === undefined) return;
    const said = this.#said;
    if (said?.turn === turn && said.session === session && said.position === position) return;
    this.#said = { turn, session, position };
    this.event({ kind: 'position', position });
  }

  /** This node knows more: the home may wait for that with what was asked for. */
  wentOn(): void {
    if (this.taken.isAny || this.holder.asked.size + this.#leaving.size > 0) this.#sayPosition();
  }

  #blocksOf(file: number): number[] {
    const { sim, host } = this.#node;
    return sim.blocksOf(file).filter((block) => host.isThere(block));
  }

  async #askForTag({ ino: file, mode, asked }: TagRequest): Promise<TagReply<number> | undefined> {
    for (await this.link(); !this.holder.isWelcome; await this.link()) await this.#node.pause(2);
    const { turn } = this;
    try {
      return await this.request('open', { file, mode, asked });
    } catch (error) {
      if (turn === this.turn) throw error;
      return undefined;
    }
  }

  giveBack(file: number): void {
    this.leave(file);
  }

  /** Nobody here uses the file: what is here of it goes, and the right to it once nothing is. */
  idle(file: number): void {
    const { holder, taken } = this;
    if (!holder.isIn || taken.has(file) || ![...this.#tags.idle()].includes(file)) return;
    const blocks = this.#node.sim.blocksOf(file).filter((block) => holder.cache.blocks.has(block));
    for (const block of blocks) holder.evict(block);
    if (blocks.length === 0) this.#tags.giveBack(file);
  }

  /** The file has another home: the right to it goes back when all that was asked for is answered. */
  leave(file: number): void {
    if (this.taken.isDone(file)) this.#tags.giveBack(file);
    else this.#leaving.add(file);
  }

  tick(): void {
    this.holder.tick();
    this.holder.retryMoved();
    for (const file of this.#leaving) {
      const isHome = this.#node.host.homes[file] === this.id;
      if (!isHome && !this.taken.isDone(file)) continue;
      this.#leaving.delete(file);
      if (!isHome) this.#tags.giveBack(file);
    }
  }

  #may(block: number, access: 'read' | 'write'): boolean {
    const state = this.#state(block);
    const isEnough = access === 'write' ? state === 'E' : readable.has(state);
    return isEnough && !this.#lacks(block);
  }

  /** Whether it has become part of the file since it came. */
  #lacks(block: number): boolean {
    const { host } = this.#node;
    return host.isThere(block) && host.page(block).isAbsent;
  }

  #state(block: number): CacheState {
    return this.taken.copyOf(block) ?? this.holder.cache.state(block);
  }

  #ask(block: number, access: 'read' | 'write'): void {
    if (readable.has(this.#state(block)) && this.#lacks(block)) this.holder.evict(block);
    this.holder.fault(block, access);
  }

  /** A process touches a block. */
  fault(block: number, access: 'read' | 'write'): void {
    if (this.#may(block, access)) {
      this.memory.wake(block);
      return;
    }
    const file = this.#node.sim.fileOf(block);
    const mode = access === 'write' ? 'rw' : 'r';
    if (this.#tags.isOpen(file, mode)) {
      this.#touched(block, access);
      return;
    }
    this.#node.run(this.#tags.open(file, mode)).then(
      () => this.#touched(block, access),
      (error: unknown) => {
        // What else a home says, processes are told: the touch fails.
        const isPassing = error instanceof FsError && (passing.has(error.code) || !this.isLinked);
        if (!isPassing) this.#node.sim.fail(error);
        this.memory.wake(block);
      },
    );
  }

  #touched(block: number, access: 'read' | 'write'): void {
    const file = this.#node.sim.fileOf(block);
    if (this.#node.host.homes[file] !== this.id) this.memory.wake(block);
    else if (this.taken.isStanding(file)) this.holder.wait(block);
    else this.#ask(block, access);
  }

  /** Whoever has the file mapped here may use it. */
  keepOpen(file: number): Promise<void> {
    return this.#tags.open(file, 'rw');
  }

  async enter(): Promise<number> {
    const endMs = this.#node.host.nowMs + this.#node.sim.times.leaseMs;
    for (;;) {
      await this.link();
      const session = this.session();
      if (session !== undefined) return session;
      if (this.#node.host.nowMs > endMs) throw unreachable();
      await this.#node.pause(1);
    }
  }

  async reach(): Promise<(said: HandedOver) => Promise<number>> {
    await this.link();
    const turn = this.turn;
    return async (said) => {
      if (turn !== this.turn) throw unreachable();
      const asked = this.#tags.nextAsked();
      try {
        return await this.request('handOver', { ...said, asked });
      } catch (error) {
        if (turn !== this.turn) this.#disown(said, asked);
        throw error;
      }
    };
  }

  /** If a right was given under that number, it is given back. */
  #disown({ ino, generation, mode }: HandedOver, asked: number): void {
    const disown = this.#tags.disown({ ino, generation, mode, asked });
    this.#node.run(disown).catch((error: unknown) => {
      if (!(error instanceof FsError)) throw error;
    });
  }

  refuse(file: number, tag: number): void {
    this.#tags.refuse(file, tag);
  }

  async bring(file: number, isTime: () => boolean): ReturnType<Taken<number>['fetch']> {
    this.taken.begin(file);
    this.wentOn();
    await this.#tags.open(file, 'take');
    return this.taken.fetch(file, isTime);
  }

  adopt(
    file: number,
    { right, mode }: { readonly right: number; readonly mode: 'r' | 'rw' },
    blocks: number[],
  ): void {
    this.#tags.adopt(file, mode, right);
    for (const block of blocks) this.holder.adopt(block, 'S', this.#session ?? 0);
  }

  abandon(file: number): void {
    this.#tags.left(file);
    this.taken.abandon(file, (block) => this.memory.cancel(block));
  }

  publish(): void {
    if (this.holder.isFencing) return;
    const { heldUntilMs } = this.#node.host;
    const hasOutlived = this.#node.sim.holds('outlived') && this.taken.hasOutlived;
    if (!hasOutlived) heldUntilMs.set(this.id, this.holder.heldUntilMs ?? 0);
    else if ((heldUntilMs.get(this.id) ?? 0) === 0) heldUntilMs.set(this.id, 1);
  }
}

export const unreachable = (): FsError => new FsError('ECONNRESET', 'request', { why: 'no link' });
