/**
 * A sync in a cluster whose nodes have stores: content becomes durable at its home, and names, attributes and
 * sizes at the coordinator.
 */
import { FsError } from '@cluster-fs/transport';
import type { PeerReply, PeerRequest } from '@cluster-fs/transport/peer';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Stores } from '../coordinator/elsewhere.ts';
import { syncHere } from '../coordinator/sync.ts';
import { coordinatorNumber, type Homes } from './homes.ts';

export class Durability implements Stores {
  readonly #c: Coordinator;
  readonly #homes: Homes;

  constructor(c: Coordinator, homes: Homes) {
    this.#c = c;
    this.#homes = homes;
  }

  async names(ino: number): Promise<void> {
    const { self, own } = this.#homes;
    if (self === coordinatorNumber) return;
    await own?.settled(ino);
    await this.#ask(coordinatorNumber, { what: 'names', ino: undefined });
  }

  async file(ino: number): Promise<void> {
    await this.#ask(this.#homes.homeOf(ino), { what: 'file', ino });
  }

  async all(): Promise<number> {
    const others = [...this.#homes.keptBytes.keys()].filter((number) => number !== coordinatorNumber);
    const pages = await Promise.all(
      others.map((number) => this.#ask(number, { what: 'all', ino: undefined })),
    );
    return pages.reduce((sum, each) => sum + each, 0);
  }

  async #ask(node: number, fields: PeerRequest<'flush'>): Promise<number> {
    const link = await this.#homes.neighbour(node).line.link();
    return (await link.request('flush', fields)).reply.pages;
  }

  /** What another node asks of this one. */
  async answer({ what, ino }: PeerRequest<'flush'>): Promise<PeerReply<'flush'>> {
    const c = this.#c;
    if (what === 'names') {
      if (this.#homes.self !== coordinatorNumber)
        throw new FsError('EPROTO', 'flush', { why: 'names are the coordinator’s' });
      await c.writeBack?.sync([]);
      return { pages: 0 };
    }
    const pages = await syncHere(c, what === 'all' ? undefined : ino);
    await this.#homes.own?.allSettled();
    return { pages };
  }
}
