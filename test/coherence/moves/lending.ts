/** A node of the simulation as the home of files: directories, sessions, rights, and who comes to it. */
import { FsError } from '@cluster-fs/transport';
import {
  assertMaySay,
  DirectorySteps,
  HandingOver,
  Home,
  type HomeFrame,
  ownCache,
  type Tag,
  type TagAsked,
  type TagMode,
  type TagReply,
  Tags,
} from 'cluster-fs/coherence';
import type { Answer, AnyRequest, FromServer, Requests, ToServer } from './frames.ts';
import type { MovingNode } from './moving-node.ts';
import { PageMemory } from './page-memory.ts';

/** A node that comes here, in one of its lives. */
export interface Peer {
  readonly id: number;
  readonly life: number;
  link: { readonly id: number; send(frame: FromServer): void; cut(): void } | undefined;
  session: number | undefined;
  /** Of requests that are answered: aborted when who asked hears that no more. */
  readonly hearing: Set<AbortController>;
}

/** What is read of a hole. */
const zeros = 0;

/** The bytes are not in the pages. */
const away: ReadonlySet<string> = new Set(['I', 'IS', 'IE']);

/** All homes take the same ones. */
const directorySteps = new DirectorySteps();

export class Lending {
  readonly #node: MovingNode;
  readonly home: Home<number>;
  readonly handing: HandingOver<number>;
  readonly memory: PageMemory;
  readonly peers = new Map<string, Peer>();
  readonly #tags: Tags<number>;
  readonly #references = new Map<number, number>();
  #nextLink = 1;
  isOpen = false;
  /** The node is about to stop. */
  lendsNothing = false;
  #whenOpen: (() => void)[] = [];

  constructor(node: MovingNode, life: number, mayHaveGranted: boolean) {
    this.#node = node;
    const { sim, host } = node;
    let nextTag = (node.id + 1) * 1e9 + life * 1e6;
    this.#tags = new Tags<number>({
      newMap: <T>() => new Map<number, T>(),
      newStag: () => nextTag++,
      given: (file) => this.#refer(file, 1),
      ended: (file) => this.#refer(file, -1),
      fill: ({ mode }) => this.#fill(mode),
      forget: (file, session) => {
        for (const block of sim.blocksOf(file)) this.home.forget(block, session);
      },
    });
    this.memory = new PageMemory(node, {
      done: (block, value) => this.home.done(block, value),
      dropping: (block, value) => host.shadow.set(block, value),
      installed: (block) => host.shadow.delete(block),
      lost: () => undefined,
    });
    this.handing = new HandingOver<number>({
      home: () => this.home,
      sharedOf: (file) => new Set(sim.blocksOf(file).filter((block) => this.isShared(block))),
      isOwn: (file) => host.isOwn(file),
      forget: (file, blocks) => {
        for (const block of blocks) this.memory.cancel(block);
        for (const block of sim.blocksOf(file)) host.shadow.delete(block);
      },
    });
    if (!sim.holds('quiet')) this.handing.busy = () => [];
    if (!sim.holds('alone')) this.handing.elsewhere = () => [];
    const world = {
      nowMs: () => host.nowMs,
      send: (link: number, frame: HomeFrame<number>) => this.#send(link, frame),
      memory: this.memory,
      load: (block: number) => this.load(block),
      store: (block: number, value: number, from: number) => {
        if (from !== ownCache) host.shadow.set(block, value);
      },
      reverted: (block: number, session: number) => this.#reverted(block, session),
      cleared: () => undefined,
      ended: (session: number) => this.#ended(session),
      isHeld: (block: number, from: number) => this.#isHeld(sim.fileOf(block), from),
      isKept: (block: number, from: number) => this.handing.isKept(sim.fileOf(block), from),
      hasLeft: (block: number) => sim.holds('left') && this.handing.hasLeft(sim.fileOf(block)),
    };
    const firstSession = life * 1000 + 1;
    this.home = new Home<number>(world, { times: sim.times, firstSession, mayHaveGranted, directorySteps });
  }

  isShared(block: number): boolean {
    return this.home.entries.has(block) || this.home.cache.state(block) !== 'E';
  }

  #isHeld(file: number, from: number): boolean {
    const { sim, layouts } = this.#node;
    const isGiven = this.handing.givenTo(file) !== undefined;
    if (this.handing.isHeld(file, from) && sim.holds(isGiven ? 'given' : 'heard')) return true;
    if (from === ownCache) return false;
    const isUnknown = !layouts.knows(file, from);
    if (isGiven) return sim.holds('known') && isUnknown;
    return this.lendsNothing || layouts.isHeld(file) || isUnknown;
  }

  get hasLent(): boolean {
    return this.home.entries.size > 0 || this.home.cache.blocks.size > 0;
  }

  /** Whether processes of this node may store into a block of it, as far as others are concerned. */
  mayStore(block: number): boolean {
    return !this.isShared(block) || this.home.cache.state(block) === 'E';
  }

  /** Whether its bytes are not in the pages. */
  isAway(block: number): boolean {
    return away.has(this.home.cache.state(block));
  }

  load(block: number): number {
    const { host, id } = this.#node;
    if (!host.isThere(block)) return zeros;
    const value = this.isAway(block) ? host.shadow.get(block) : host.page(block).value;
    if (value === undefined || value < 0) throw new Error(`node ${id} has no bytes of its block ${block}`);
    return value;
  }

  /** A block of a neighbour's file goes from the pages. */
  keep(block: number, value: number): void {
    if (!this.handing.mustKeep(this.#node.sim.fileOf(block), block)) return;
    this.#node.host.shadow.set(block, value);
    this.memory.cancel(block);
    this.home.withdraw(block);
  }

  #reverted(block: number, session: number): void {
    const { sim } = this.#node;
    this.#node.note(`says that what session ${session} stored into ${block} is lost`);
    sim.assertUnused(block);
    sim.loses(block);
    sim.newest[block] = this.load(block);
  }

  #ended(session: number): void {
    this.#node.note(`ends session ${session}`);
    this.#node.layouts.positions.ended(session);
    this.#tags.ended(session);
    for (const peer of [...this.peers.values()]) if (peer.session === session) this.#gone(peer);
  }

  #gone(peer: Peer): void {
    this.peers.delete(`${peer.id}/${peer.life}`);
    this.#node.leading?.gone(peer.id, peer.life);
    const { link } = peer;
    peer.link = undefined;
    peer.session = undefined;
    link?.cut();
  }

  /** The session that the last life of a node has here. */
  sessionOf(id: number): number | undefined {
    const lives = [...this.peers.values()].filter((peer) => peer.id === id);
    return lives.sort((a, b) => a.life - b.life).at(-1)?.session;
  }

  #refer(file: number, by: number): void {
    const references = (this.#references.get(file) ?? 0) + by;
    if (references < 0) throw new Error(`file ${file} is let go of more often than it was held`);
    this.#references.set(file, references);
  }

  /** Whether a file is kept for a node that has no right to it. */
  get isAnyKept(): boolean {
    for (const [file, references] of this.#references)
      if (references !== [...this.#tags.on(file)].length) return true;
    return false;
  }

  /** Rights that other nodes have here. */
  get rights(): number {
    return this.#tags.count;
  }

  hasRight(file: number, session: number): boolean {
    for (const tag of this.#tags.on(file)) if (tag.session === session) return true;
    return false;
  }

  admit(id: number, life: number, send: (frame: FromServer) => void, cut: () => void): Peer {
    const key = `${id}/${life}`;
    const peer = this.peers.get(key) ?? {
      id,
      life,
      link: undefined,
      session: undefined,
      hearing: new Set(),
    };
    this.peers.set(key, peer);
    this.#isUnheard(peer);
    peer.link = { id: this.#nextLink++, send, cut };
    return peer;
  }

  #isUnheard({ hearing }: Peer): void {
    for (const each of hearing) each.abort(new FsError('ECONNRESET', 'request', { why: 'the link is down' }));
    hearing.clear();
  }

  linkDown(peer: Peer, send: unknown): void {
    if (peer.link === undefined || peer.link.send !== send) return;
    const { id } = peer.link;
    peer.link = undefined;
    this.#isUnheard(peer);
    this.home.linkDown(id);
    this.#node.leading?.linkDown(peer.id, peer.life);
    if (peer.session === undefined) this.#gone(peer);
  }

  receive(peer: Peer, frame: ToServer): void {
    const { link } = peer;
    if (link === undefined) return;
    switch (frame.kind) {
      case 'home':
        if (frame.frame.kind === 'message')
          assertMaySay(frame.frame.envelope.message.name, this.#resolve(peer, frame.tag).mode);
        this.home.receive(link.id, frame.frame);
        if (frame.frame.kind === 'hello') this.#welcomed(peer);
        return;
      case 'tagClose':
        if (this.#tags.giveBack(this.#resolve(peer, frame.tag)))
          link.send({ kind: 'tagClosed', tag: frame.tag });
        return;
      case 'tagGone':
        this.#tags.gone(frame.tag, peer.session);
        return;
      case 'gave':
        this.#node.moving.heardOfEnd(frame);
        return;
      case 'position':
        this.#node.layouts.positions.heard(peer.session, frame.position);
        this.home.release();
        return;
      case 'leaving':
        if (peer.session !== undefined) this.home.leave(peer.session);
        return;
      case 'applied':
        this.#node.leading?.applied(peer.id, peer.life, frame.sequence);
        return;
      case 'request':
        this.#request(peer, frame);
    }
  }

  /** An honest node names what it was given, and nothing else. */
  #resolve({ id, session }: Peer, tag = 0): Tag<number> {
    try {
      return this.#tags.resolve(tag, session);
    } catch (error) {
      const why = `node ${id} names a right at node ${this.#node.id} that it has not`;
      throw new Error(why, { cause: error });
    }
  }

  /** What was given back is said to be closed over every link until that is heard. */
  #welcomed(peer: Peer): void {
    peer.session = this.home.sessionOf(peer.link?.id ?? 0);
    for (const tag of this.#tags.closing(peer.session ?? 0)) peer.link?.send({ kind: 'tagClosed', tag });
  }

  #send(id: number, frame: HomeFrame<number>): void {
    const peer = [...this.peers.values()].find(({ link }) => link?.id === id);
    if (peer === undefined) return;
    if (frame.kind !== 'message') {
      peer.link?.send({ kind: 'holder', frame, tag: undefined });
      return;
    }
    const { message } = frame.envelope;
    const { block, name } = message;
    if (name === 'moved' && !this.#node.sim.holds('moved')) return;
    const tag = this.#tags.of(this.#node.sim.fileOf(block), this.home.sessionOf(id) ?? 0);
    if (tag === undefined)
      throw new Error(
        `node ${this.#node.id} says ${name} of ${block} to node ${peer.id}, which has no right`,
      );
    peer.link?.send({ kind: 'holder', frame, tag: tag.stag });
  }

  #request(peer: Peer, request: AnyRequest): void {
    const { link } = peer;
    let isAnswered = false;
    const answer = (what: Answer): void => {
      if (isAnswered) throw new Error(`a second answer to ${request.name}`);
      isAnswered = true;
      if (peer.link === link) link?.send({ kind: 'reply', id: request.id, answer: what });
    };
    const work = this.#answer(peer, request, (reply) => answer({ reply }));
    this.#node.run(work).catch((error: unknown) => {
      if (!(error instanceof FsError)) this.#node.sim.fail(error);
      if (!isAnswered) answer({ error: error as FsError });
    });
  }

  async #answer(peer: Peer, request: AnyRequest, reply: (reply: unknown) => void): Promise<void> {
    const { moving, leading } = this.#node;
    const { link } = peer;
    if (request.name === 'describe') {
      reply(undefined);
      return;
    }
    if (request.name === 'moves') {
      reply(leading?.isMoving(request.fields.ino, request.fields.move));
      return;
    }
    if (request.name === 'follow') {
      leading?.follow(peer, request.fields, reply);
      return;
    }
    if (!this.isOpen) await new Promise<void>((resolve) => this.#whenOpen.push(resolve));
    if (request.name === 'content') {
      await leading?.content(peer.id, request.fields);
      reply(undefined);
    } else if (request.name === 'empty') {
      const isHeard = (): boolean => this.peers.get(`${peer.id}/${peer.life}`)?.link === link;
      await leading?.empty(peer.id, isHeard);
      reply(undefined);
    } else if (request.name === 'open') reply(await this.#open(peer, request.fields));
    else if (request.name === 'take') reply(await moving.take(request.fields));
    else {
      const hearing = new AbortController();
      peer.hearing.add(hearing);
      await this.#move(peer, request, hearing.signal, reply).finally(() => peer.hearing.delete(hearing));
    }
  }

  /** `signal`: aborted when nobody hears the answer. */
  async #move(
    { id, session }: Peer,
    request: Extract<AnyRequest, { readonly name: 'give' | 'handOver' }>,
    signal: AbortSignal,
    reply: (reply: unknown) => void,
  ): Promise<void> {
    const { moving } = this.#node;
    if (request.name === 'give') {
      reply(await moving.give(request.fields, signal));
      return;
    }
    const { asked, ...said } = request.fields;
    const by = { number: id, session, signal };
    await moving.handOver(said, by, () => reply(this.#give({ ...said, asked })));
  }

  #open({ session }: Peer, { file, mode, asked }: Requests['open']['fields']): Promise<TagReply<number>> {
    if (session === undefined) throw new FsError('EPROTO', 'stag', { why: 'no session of blocks' });
    return this.#tags.open({ ino: file, mode, session, asked }, () => {
      if (!this.#node.host.isOwn(file)) throw new FsError('EAGAIN', 'stag', { why: 'it has another home' });
    });
  }

  #give({ ino, session, mode, asked }: TagAsked): number {
    return this.#tags.give({ ino, session, mode, asked }).stag;
  }

  /** Pages of a file for who may store anywhere. */
  async #fill(mode: TagMode): Promise<void> {
    const { sim } = this.#node;
    if (mode !== 'rw') return;
    const { ms, fails } = sim.nextFill();
    if (ms > 0) await this.#node.pause(ms);
    if (fails) throw new FsError('ENOSPC', 'stag', { why: 'no pages for who may store anywhere' });
  }

  /** Once the leases of an earlier life are over. */
  open(): void {
    this.isOpen = true;
    for (const goOn of this.#whenOpen.splice(0)) this.#node.settled(goOn);
  }
}
