/**
 * The nodes that keep files: the coordinator's list, which it gives to all. A number outlives its node:
 * files may name it that wait for the node to come back. It is given to another one when no file does, and no
 * other number is left.
 */
import { isIP } from 'node:net';
import { FsError } from '@cluster-fs/transport';
import { formatPeerUrl, type Keeper, type PeerIdentity, parsePeerUrl } from '@cluster-fs/transport/peer';
import { maxHomes } from 'cluster-fs/segment';
import type { MetadataStore } from '../metadata/store.ts';
import { coordinatorNumber } from './homes.ts';

/** How much a node can keep: all its files together, and one of them while it moves there. */
export type Room = Pick<Keeper, 'capacityBytes' | 'memoryBytes'>;

/** Where a node is reached, and what it is. */
type Reached = Room & Pick<Keeper, 'isStored'> & { readonly url: string };

const keyOf = (number: number): string => `keeper-${number}`;

export class Roster {
  #keepers = new Map<number, Keeper>();
  #coordinator: string | undefined;

  get keepers(): Keeper[] {
    return [...this.#keepers.values()];
  }

  of(number: number): Keeper | undefined {
    return this.#keepers.get(number);
  }

  named(nodeId: number): Keeper | undefined {
    return this.keepers.find((keeper) => keeper.nodeId === nodeId);
  }

  /** Them and the coordinator, whose name is given. */
  homes(coordinator: string): { number: number; name: string }[] {
    const others = this.keepers.map(({ number, name }) => ({ number, name }));
    return [{ number: coordinatorNumber, name: coordinator }, ...others];
  }

  /** As the coordinator says. */
  replace(keepers: readonly Keeper[]): void {
    this.#keepers = new Map(keepers.map((keeper) => [keeper.number, keeper]));
  }

  /** At the coordinator, called so: what one of before has given. */
  load(store: MetadataStore, coordinator: string): void {
    this.#coordinator = coordinator;
    for (let number = 1; ; number++) {
      const text = store.superblock(keyOf(number));
      if (text === undefined) return;
      const [, nodeId = '', name = ''] = /^(\d+) (.*)$/s.exec(text) ?? [];
      const unknown = { url: undefined, memoryBytes: 0, capacityBytes: 0, isStored: false };
      this.#keepers.set(number, { number, nodeId: Number(nodeId), name, ...unknown });
    }
  }

  /**
   * A node can be reached there from here on. EEXIST when another one has its name, ENOSPC when there is no
   * number left for one that was never here. `keepsSome`: whether a file names that number.
   */
  keep(
    { store, keepsSome }: { store: MetadataStore; keepsSome: (number: number) => boolean },
    { nodeId, name }: PeerIdentity,
    reached: Reached,
  ): Keeper {
    this.#assertOnly({ nodeId, name });
    const known = this.named(nodeId);
    const number = known?.number ?? this.#newNumber(keepsSome);
    const keeper = { number, nodeId, name, ...reached };
    if (known?.name !== name) store.setSuperblock({ [keyOf(keeper.number)]: `${nodeId} ${name}` });
    this.#keepers.set(keeper.number, keeper);
    return keeper;
  }

  /** The next, or when there is none, that of a node which is gone and has left no file. */
  #newNumber(keepsSome: (number: number) => boolean): number {
    const next = this.#keepers.size + 1;
    if (next < maxHomes) return next;
    const gone = this.keepers.find(({ url, number }) => url === undefined && !keepsSome(number));
    if (gone === undefined) throw noNumberLeft();
    return gone.number;
  }

  /** A node cannot be reached any more; whether it was one of these. */
  left(nodeId: number): boolean {
    const known = this.named(nodeId);
    if (known === undefined || known.url === undefined) return false;
    this.#keepers.set(known.number, { ...known, url: undefined });
    return true;
  }

  /** Files are sent to a node by its name: no two that can be reached have the same. */
  #assertOnly({ nodeId, name }: Pick<PeerIdentity, 'nodeId' | 'name'>): void {
    const other = this.keepers.find((each) => each.name === name && each.url !== undefined);
    if (name !== this.#coordinator && (other === undefined || other.nodeId === nodeId)) return;
    throw new FsError('EEXIST', 'join', {
      why: `a node that keeps files is called '${name}' already: give this one another --name`,
    });
  }

  /** The one of that name. ENOENT when there is none, EIO when it cannot be reached. */
  find(name: string, syscall: string): Keeper {
    const keeper = this.keepers.find((each) => each.name === name && each.url !== undefined);
    if (keeper !== undefined) return keeper;
    if (this.keepers.some((each) => each.name === name))
      throw new FsError('EIO', syscall, { why: `node '${name}' cannot be reached: is it running?` });
    const names = this.keepers.filter(({ url }) => url !== undefined).map((each) => each.name);
    const others = names.length === 0 ? 'no node that joined keeps files' : `there are ${names.join(', ')}`;
    throw new FsError('ENOENT', syscall, {
      why: `no node '${name}' keeps files (${others}): it must be started with --listen tcp://HOST:PORT`,
    });
  }
}

/**
 * Every host has a word for the lease on each home, by its number (`lease.heldUntilNs`): without one,
 * processes of a node that stands still would go on with what it had.
 */
const noNumberLeft = (): FsError =>
  new FsError('ENOSPC', 'join', {
    why: `${maxHomes - 1} nodes keep files here, or are away with some: join without --listen`,
  });

/**
 * Why a node is not let in whose name is proved, and whose number is that of another one: it would get what
 * that one's clients have open, and its files. Nothing but the node itself says its number.
 */
export function impostor({ name }: PeerIdentity, owner: string | undefined): FsError | undefined {
  if (owner === undefined || owner === name) return undefined;
  return new FsError('EACCES', 'hello', {
    why:
      `what '${name}' goes on with is of node '${owner}': start it as '${owner}', with that certificate, ` +
      'or with another store and run directory',
  });
}

/** A node that listens on all addresses is reached at the one from which it came. */
export function reachableAt(url: string, cameFrom: string): string {
  const { host, port } = parsePeerUrl(url);
  const isAny = host === '0.0.0.0' || host === '::' || (isIP(host) === 6 && /^[0:]+$/.test(host));
  return isAny ? formatPeerUrl({ host: parsePeerUrl(cameFrom).host, port }) : url;
}
