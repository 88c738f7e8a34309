/** Another node as a home: the line to it, and the blocks of its files that are here. */
import { FsError, type Reply, type Request, type Spinner } from '@cluster-fs/transport';
import type { AnyPeerEvent, PeerLink } from '@cluster-fs/transport/peer';
import type { Position } from 'cluster-fs/coherence';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Handle, Session } from '../coordinator/session.ts';
import { Borrowed } from './borrowed.ts';
import type { CacheBudget } from './cache-budget.ts';
import type { Copies } from './copies.ts';
import { type Connect, Line } from './line.ts';

export interface NeighbourOptions {
  readonly budget: CacheBudget;
  /** Of this thread. */
  readonly spinner: Spinner;
  /** What fails when it cannot be reached in time. */
  readonly unreachable: () => FsError;
  /** What it has called its memory, also to a node of before. */
  readonly memory: { name: string | undefined };
  /** It is there again, and has of its files what it had synced. */
  readonly lostMemory: () => void;
  /** Whether it is the home of the file. */
  readonly isHome: (ino: number) => boolean;
  /** The bytes of a block from there are taken from `data` in a moment. */
  readonly dropping: (block: number, bytes: () => Buffer) => void;
  readonly copies: () => Copies | undefined;
  /** It gives blocks over the link that is up; it may have been started again. */
  readonly welcomed: () => void;
  /** How far this node is in the changes of the coordinator. */
  readonly position: () => Position | undefined;
}

/** What more is done about the line, by who needs it for more than blocks. */
export interface NeighbourEvents {
  up?(link: PeerLink): void;
  down?(link: PeerLink, reason: FsError): void;
  /** True when the event was for it. */
  event?(event: AnyPeerEvent, link: PeerLink): boolean;
}

export class Neighbour {
  readonly line: Line;
  readonly borrowed: Borrowed;
  readonly #c: Coordinator;

  constructor(c: Coordinator, connect: Connect, options: NeighbourOptions, events: NeighbourEvents = {}) {
    this.#c = c;
    this.line = new Line(connect, {
      up: (link) => {
        events.up?.(link);
        this.borrowed.linkUp();
      },
      down: (link, reason) => {
        this.borrowed.linkDown();
        events.down?.(link, reason);
      },
      event: (event, link) => {
        if (events.event?.(event, link) === true) return;
        this.borrowed.receive(event);
        if (event.name === 'blockWelcome') options.welcomed();
      },
      unreachable: options.unreachable,
    });
    this.borrowed = new Borrowed(c, this.line, options);
  }

  /** Before the end: everything goes home. */
  async giveUp(limitMs: number): Promise<void> {
    if (this.line.current !== undefined) await this.borrowed.giveUp(limitMs);
  }

  /** And the lease with it. Requires: `giveUp`. */
  async leave(): Promise<void> {
    this.line.finish();
    const link = this.line.current;
    if (link === undefined) return;
    try {
      // A block that it asks for was on its way home: before this is answered it has heard that, too.
      await link.request('describe', {});
      link.event('leaving', {});
      // Answered, or cut off, when the other side has heard that.
      await link.request('describe', {});
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
    }
  }

  close(): void {
    this.borrowed.close();
    this.line.close();
  }

  /** Opens a file there for a client of ours, which has it open here from then on. */
  async open(session: Session, request: Request<'open'>): Promise<Reply<'open'>> {
    const reply = await this.line.ask(session, 'open', request);
    const { handle: id, ino, generation } = reply;
    const handle: Handle = { id, ino, generation, path: request.path, writable: (request.flags & 3) !== 0 };
    this.line.knows(handle);
    if (session.ended) {
      this.line.handleClosed(session, handle);
      throw new FsError('ECONNRESET', 'open', { path: request.path });
    }
    session.handles.set(id, handle);
    this.#c.refer(ino);
    return reply;
  }
}
