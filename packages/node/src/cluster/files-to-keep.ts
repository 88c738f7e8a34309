/** Files that this node is about to keep (coherence.md, `Taken`), bound to what it borrows of them. */
import { type HeldTags, type Holder, Taken } from 'cluster-fs/coherence';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Access } from '../coordinator/elsewhere.ts';
import { type BlockMemory, inTime, requestMs } from './block-memory.ts';
import { inoOf } from './blocks.ts';
import { blocksOfFile, blocksWithAbsent } from './layout.ts';

export interface FilesToKeepParts {
  readonly c: Coordinator;
  readonly holder: () => Holder<Buffer>;
  readonly tags: HeldTags<Uint8Array>;
  readonly memory: BlockMemory;
  readonly may: (block: number, access: Access) => boolean;
  readonly ask: (block: number, access: Access) => void;
  readonly session: () => number | undefined;
  /** Throws while the home is away for longer than a lease. */
  readonly assertReachable: () => void;
}

export function filesToKeep(parts: FilesToKeepParts): Taken<Buffer> {
  const { c, holder, tags, memory, may, ask, session, assertReachable } = parts;
  return new Taken({
    holder,
    inoOf,
    blocksOf: (ino) => blocksOfFile(c, ino),
    withAbsent: (ino) => blocksWithAbsent(c, ino),
    may,
    isOpen: (ino) => tags.isOpen(ino, 'take'),
    open: (ino) => tags.open(ino, 'take'),
    ask,
    changed: (block, waiting) => memory.changed(block, waiting?.inTime === true ? requestMs : undefined),
    inTime: (work) => inTime(work, requestMs),
    session,
    assertReachable,
    lose: (block) => memory.lose(block),
  });
}

/** Nobody waits for a copy of a block that he may store into: at its home the file has none. */
export function letStore({ cache }: Holder<Buffer>, memory: BlockMemory, ino: number): void {
  for (const [block, state] of cache.blocks) if (state === 'E' && inoOf(block) === ino) memory.allow(block);
}
