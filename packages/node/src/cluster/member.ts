/**
 * A node that joined a cluster, and the coordinator of that: what comes from there besides blocks, and what
 * goes there of the files that this node keeps.
 *
 *   connecting ──▶ up ──link ends──▶ connecting (with backoff) ──▶ up ...
 */
import { FsError } from '@cluster-fs/transport';
import type { AnyPeerEvent, PeerFailure, PeerLink } from '@cluster-fs/transport/peer';
import type { Position } from 'cluster-fs/coherence';
import { isFile } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { ClusterReport } from '../coordinator/elsewhere.ts';
import type { EventKind } from '../coordinator/event-hub.ts';
import { keeperKey } from '../metadata/store.ts';
import { coordinatorNumber, type Homes } from './homes.ts';
import type { Connect } from './line.ts';
import { Neighbour, type NeighbourOptions } from './neighbour.ts';
import { OwnContent } from './own-content.ts';
import { assertSameCluster } from './own-store.ts';
import { Replica } from './replica.ts';
import type { Room, Roster } from './roster.ts';
import { assertTellable } from './rows.ts';
import { hasStopped } from './stopping.ts';

/** How often files without a name are looked for that nobody refers to. */
const sweepMs = 100;

interface MemberOptions extends NeighbourOptions {
  /** Of this node in the cluster. */
  readonly name: string;
  readonly room: Room;
  readonly roster: Roster;
}

export class Member {
  readonly #c: Coordinator;
  readonly #homes: Homes;
  readonly #replica: Replica;
  readonly #coordinator: Neighbour;
  #url = '';
  #coordinatorName = '';
  readonly #roster: Roster;
  readonly #name: string;
  readonly #room: Room;
  /** What this node does to files that it keeps. */
  readonly own: OwnContent;
  readonly #timer: NodeJS.Timeout;
  /** The link over which all has come that had happened before it. */
  #current: PeerLink | undefined;
  /** What had happened when this node began to follow over the link that is up. */
  #goal: Position | undefined;
  /** Where other nodes reach this one. */
  #reachedAt: string | undefined;
  #ready: { resolve(): void; reject(error: unknown): void } | undefined;
  /** Resolves when the tree is here for the first time. */
  readonly ready: Promise<void>;

  constructor(c: Coordinator, homes: Homes, connect: Connect, options: MemberOptions) {
    this.#c = c;
    this.#homes = homes;
    this.#coordinator = new Neighbour(c, connect, options, {
      up: (link) => this.#up(link),
      down: (link, reason) => this.#down(link, reason),
      event: (event, link) => this.#take(event, link),
    });
    homes.know(coordinatorNumber, this.#coordinator);
    this.#roster = options.roster;
    this.#name = options.name;
    this.#room = options.room;
    this.#replica = new Replica(c, homes);
    homes.position = () => this.#replica.position;
    homes.told = () => this.#current;
    // Others may use a file without a name, and wait for what was stored into it here.
    c.mayEnd = () => false;
    this.own = new OwnContent(c, homes, () => this.#coordinator.line.current);
    this.ready = new Promise((resolve, reject) => {
      this.#ready = { resolve, reject };
    });
    this.#timer = setInterval(() => this.#sweep(), sweepMs);
    this.#timer.unref();
  }

  /** From here on this node keeps files: what it does to them, the coordinator is told. */
  keepFiles(): void {
    const c = this.#c;
    const number = c.store.superblock(keeperKey);
    if (number !== undefined) this.#homes.self = Number(number);
    this.#homes.own = this.own;
    this.#homes.unused = (ino) => this.#unused(ino);
    c.assertMayHave = (ino, extents) => {
      if (this.#homes.isOwn(ino)) assertTellable(extents, 'write');
    };
    c.journal.replicate = (changes) => {
      if (this.#replica.isApplying) return undefined;
      const inos = changes.flatMap((change) =>
        change.type === 'putInode' && isFile(change.row.mode) && this.#homes.isOwn(change.row.ino)
          ? [change.row.ino]
          : [],
      );
      return inos.length === 0 ? undefined : this.own.committed(inos);
    };
    c.hub.relay = (kind, path, detail) => {
      const link = this.#coordinator.line.current;
      link?.event('happened', { kind, path, detail });
      // It comes back from there, as what others did does.
      return link === undefined;
    };
  }

  /** Other nodes reach this one there. */
  async keep(url: string): Promise<void> {
    this.#reachedAt = url;
    await this.#announce(await this.#coordinator.line.link());
  }

  async #announce(link: PeerLink): Promise<void> {
    if (this.#reachedAt === undefined) return;
    const isStored = this.#c.writeBack !== undefined;
    const { reply } = await link.request('keep', { url: this.#reachedAt, ...this.#room, isStored });
    if (this.#homes.self === reply.number) return;
    this.#homes.become(reply.number);
    this.#c.store.setSuperblock({ [keeperKey]: String(reply.number) });
  }

  #sweep(): void {
    for (const ino of this.#c.orphans) if (this.#homes.isOwn(ino)) this.#unused(ino);
  }

  #unused(ino: number): void {
    if (this.#c.keepsBack || this.#c.references.has(ino)) return;
    const { generation } = this.#c.inode(ino);
    this.#coordinator.line.current?.event('unused', { ino, generation });
  }

  /** Goes on until `close`. `link`: one that is there already. */
  start(link: PeerLink): void {
    this.#coordinator.line.use(link);
  }

  /** Whether this node keeps files, or may, as far as it has heard: nobody else has them. */
  get keepsSome(): boolean {
    return this.#homes.self !== undefined && this.#homes.keepsNamed;
  }

  /** Before the end: files that this node keeps go to others; some of those that do not. */
  async empty(): Promise<readonly PeerFailure[]> {
    const link = this.#coordinator.line.current;
    if (!this.keepsSome || link === undefined) return [];
    return (await link.request('empty', {})).reply.failed;
  }

  /** Safe to call twice. */
  close(): void {
    clearInterval(this.#timer);
    this.own.close();
    this.#homes.close();
  }

  get report(): ClusterReport {
    return {
      role: 'member',
      name: this.#name,
      keptBytes: 0,
      nodes: [],
      homes: this.#roster.homes(this.#coordinatorName),
      lentBlocks: 0,
      home: { url: this.#url, isConnected: this.#coordinator.line.current !== undefined },
      sequence: this.#replica.sequence,
      ...this.#homes.cacheReport,
    };
  }

  /** '' until its first link is up. */
  get coordinatorName(): string {
    return this.#coordinatorName;
  }

  #up(link: PeerLink): void {
    this.#url = link.url;
    this.#coordinatorName = link.peer.name;
    this.#follow(link).catch((error: unknown) => {
      // It is no coordinator, or not ours: another attempt makes it none.
      if (error instanceof FsError && (error.code === 'ENOTSUP' || error.code === 'EINVAL'))
        this.#ready?.reject(error);
      if (link.closed === undefined && !hasStopped(error)) this.#c.hub.report(error);
      link.close();
    });
    if (this.#replica.position !== undefined) this.#c.hub.emit('home-back', undefined, { home: link.url });
  }

  async #follow(link: PeerLink): Promise<void> {
    // Another coordinator may be there by now: what is stored here must not be taken for removed.
    const { store, writeBack } = this.#c;
    if (writeBack !== undefined)
      assertSameCluster(store, writeBack.report.path, (await link.request('describe', {})).reply);
    await this.#announce(link);
    // Who follows has applied what it does not ask for.
    await this.#homes.openings.done;
    const { feed, sequence } = this.#replica.position ?? { feed: undefined, sequence: 0 };
    const { reply } = await link.request('follow', { feed, sequence });
    if (this.#coordinator.line.current !== link) return;
    this.#goal = reply;
    if (this.#replica.hasReached(reply)) this.#applied(link);
  }

  /** What has been applied is said when files that moved with it are open at their new homes. */
  #applied(link: PeerLink): void {
    const opened = this.#homes.openings.done;
    if (opened === undefined) this.#isCurrent(link);
    else
      void opened.then(() => {
        if (this.#coordinator.line.current === link) this.#applied(link);
      });
  }

  #isCurrent(link: PeerLink): void {
    link.event('applied', { sequence: this.#replica.sequence });
    if (this.#current === link || this.#goal === undefined || !this.#replica.hasReached(this.#goal)) return;
    this.#current = link;
    // What this node did while there was no link, or another one, the coordinator may lack.
    this.own.sendAll();
    this.#ready?.resolve();
    this.#ready = undefined;
  }

  #down(link: PeerLink, reason: FsError): void {
    this.#current = undefined;
    this.#goal = undefined;
    this.#replica.linkDown();
    if (this.#coordinator.line.isClosed) return;
    this.#c.hub.emit('home-lost', undefined, { home: link.url, why: reason.message });
  }

  #take(event: AnyPeerEvent, link: PeerLink): boolean {
    switch (event.name) {
      case 'changes':
        if (!this.#replica.take(event.fields)) return true;
        this.#homes.wentOn();
        this.#applied(link);
        return true;
      case 'happened': {
        const { kind, path, detail } = event.fields;
        this.#c.hub.deliver(kind as EventKind, path, detail as Readonly<Record<string, unknown>>);
        return true;
      }
      case 'keepers':
        this.#roster.replace(event.fields.keepers);
        return true;
      default:
        return false;
    }
  }
}
