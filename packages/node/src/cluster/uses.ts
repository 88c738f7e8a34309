/** Which nodes have asked for blocks of which files, since somebody wanted to know last. */
import type { PeerUse } from '@cluster-fs/transport/peer';
import type { CacheId } from 'cluster-fs/coherence';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Homes } from './homes.ts';

/** A file that clients here have open or mapped: as if they asked for this many blocks. */
const ownUse = 1_000_000;
/** Files that are remembered; who asks for more than these, asks for none much. */
const maxFiles = 65_536;

export class Uses {
  readonly #files = new Map<number, Map<CacheId, number>>();

  /** The node of that session wants a block. */
  note(ino: number, session: CacheId): void {
    const known = this.#files.get(ino);
    if (known === undefined && this.#files.size >= maxFiles) return;
    const nodes = known ?? new Map<CacheId, number>();
    this.#files.set(ino, nodes);
    nodes.set(session, (nodes.get(session) ?? 0) + 1);
  }

  /** What is known, which is forgotten then. `numberOf`: that of the node of a session, if it keeps files. */
  take(c: Coordinator, homes: Homes, numberOf: (session: CacheId) => number | undefined): PeerUse[] {
    const uses: PeerUse[] = [];
    const add = (ino: number, number: number | undefined, blocks: number): void => {
      if (number === undefined || !homes.isOwn(ino)) return;
      uses.push({ ino, generation: c.inode(ino).generation, number, blocks });
    };
    for (const [ino, nodes] of this.#files)
      for (const [session, blocks] of nodes) add(ino, numberOf(session), blocks);
    this.#files.clear();
    for (const ino of usedHere(c)) add(ino, homes.self, ownUse);
    return uses.slice(0, maxFiles);
  }
}

function usedHere(c: Coordinator): Set<number> {
  const used = new Set<number>(c.views.keys());
  for (const { isGuest, handles } of c.sessions.values())
    if (!isGuest) for (const { ino } of handles.values()) used.add(ino);
  return used;
}
