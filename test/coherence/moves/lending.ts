/** A node of the simulation as the home of files: directories, sessions, rights, and who comes to it. */
import { FsError } from '@cluster-fs/transport';
import { DirectorySteps, HandingOver, Home, type HomeFrame, ownCache } from 'cluster-fs/coherence';
import type { Answer, AnyRequest, FromServer, Requests, ToServer } from './frames.ts';
import type { MovingNode } from './moving-node.ts';
import { PageMemory } from './page-memory.ts';

interface Tag {
  readonly number: number;
  readonly file: number;
  readonly session: number;
  readonly asked: number;
  /** Once it is being given back: the last message that may name it. */
  until: number | undefined;
  /** Its session has named it. */
  isKnown: boolean;
}

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
  readonly #tags = new Map<number, Tag>();
  #nextTag: number;
  #nextLink = 1;
  isOpen = false;
  /** The node is about to stop. */
  lendsNothing = false;
  #whenOpen: (() => void)[] = [];

  constructor(node: MovingNode, life: number, mayHaveGranted: boolean) {
    this.#node = node;
    const { sim, host } = node;
    this.#nextTag = (node.id + 1) * 1e9 + life * 1e6;
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
    const givenTo = this.handing.givenTo(file);
    if (givenTo !== undefined && from !== givenTo) return sim.holds('given');
    if (from === ownCache) return false;
    const isUnknown = !layouts.knows(file, from);
    if (givenTo !== undefined) return sim.holds('known') && isUnknown;
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
    for (const tag of [...this.#tags.values()]) if (tag.session === session) this.#tags.delete(tag.number);
    for (const peer of [...this.peers.values()]) if (peer.session === session) this.#gone(peer);
  }

  #gone(peer: Peer): void {
    this.peers.delete(`${peer.id}/${peer.life}`);
    this.#node.leading?.gone(peer.id, peer.life);
    const { link } = peer;
    peer.link = undefined;
    link?.cut();
  }

  /** The session that the last life of a node has here. */
  sessionOf(id: number): number | undefined {
    const lives = [...this.peers.values()].filter((peer) => peer.id === id);
    return lives.sort((a, b) => a.life - b.life).at(-1)?.session;
  }

  hasRight(file: number, session: number): boolean {
    return this.#tagOf(file, session) !== undefined;
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
        if (frame.frame.kind === 'message') this.#resolve(peer, frame.tag);
        this.home.receive(link.id, frame.frame);
        if (frame.frame.kind === 'hello') this.#welcomed(peer);
        return;
      case 'tagClose':
        this.#giveBack(peer, this.#resolve(peer, frame.tag));
        return;
      case 'tagGone':
        this.#tags.delete(frame.tag);
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
  #resolve({ id, session }: Peer, number: number | undefined): Tag {
    const tag = this.#tags.get(number ?? -1);
    if (tag === undefined || tag.session !== session)
      throw new Error(`node ${id} names a right at node ${this.#node.id} that it has not`);
    tag.isKnown = true;
    return tag;
  }

  /** What was given back is said to be closed over every link until that is heard. */
  #welcomed(peer: Peer): void {
    peer.session = this.home.sessionOf(peer.link?.id ?? 0);
    for (const { number, session, until } of this.#tags.values())
      if (session === peer.session && until !== undefined)
        peer.link?.send({ kind: 'tagClosed', tag: number });
  }

  #giveBack(peer: Peer, tag: Tag): void {
    if (tag.until !== undefined) return;
    const { file, session } = tag;
    tag.until = this.home.posted(session);
    const isOpen = [...this.#tags.values()].some(
      (each) => each.file === file && each.session === session && each.until === undefined,
    );
    if (!isOpen) for (const block of this.#node.sim.blocksOf(file)) this.home.forget(block, session);
    peer.link?.send({ kind: 'tagClosed', tag: tag.number });
  }

  /** As the node's `Tags.of`. */
  #tagOf(file: number, session: number, number = Number.POSITIVE_INFINITY): Tag | undefined {
    let [first, closing]: (Tag | undefined)[] = [];
    for (const tag of this.#tags.values()) {
      if (tag.file !== file || tag.session !== session) continue;
      if (tag.until !== undefined) {
        if (number <= tag.until) return tag;
        closing = tag;
      } else if (tag.isKnown) return tag;
      else first ??= tag;
    }
    return first ?? closing;
  }

  #send(id: number, frame: HomeFrame<number>): void {
    const peer = [...this.peers.values()].find(({ link }) => link?.id === id);
    if (peer === undefined) return;
    if (frame.kind !== 'message') {
      peer.link?.send({ kind: 'holder', frame, tag: undefined });
      return;
    }
    const { number, message } = frame.envelope;
    const { block, name } = message;
    if (name === 'moved' && !this.#node.sim.holds('moved')) return;
    const tag = this.#tagOf(this.#node.sim.fileOf(block), this.home.sessionOf(id) ?? 0, number);
    if (tag === undefined)
      throw new Error(
        `node ${this.#node.id} says ${name} of ${block} to node ${peer.id}, which has no right`,
      );
    peer.link?.send({ kind: 'holder', frame, tag: tag.number });
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
    } else if (request.name === 'open') reply(this.#open(peer, request.fields));
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
    await moving.handOver(said, by, () => reply(this.#give(said.ino, said.session, asked)));
  }

  #open({ session }: Peer, { file, asked }: Requests['open']['fields']): Requests['open']['reply'] {
    if (session === undefined) throw new FsError('EPROTO', 'stag', { why: 'no session of blocks' });
    for (const tag of this.#tags.values())
      if (tag.file === file && tag.session === session && tag.asked === asked)
        return { tag: tag.number, session };
    if (!this.#node.host.isOwn(file)) throw new FsError('EAGAIN', 'stag', { why: 'it has another home' });
    return { tag: this.#give(file, session, asked), session };
  }

  #give(file: number, session: number, asked: number): number {
    const number = this.#nextTag++;
    this.#tags.set(number, { number, file, session, asked, until: undefined, isKnown: false });
    return number;
  }

  /** Once the leases of an earlier life are over. */
  open(): void {
    this.isOpen = true;
    for (const goOn of this.#whenOpen.splice(0)) this.#node.settled(goOn);
  }
}
