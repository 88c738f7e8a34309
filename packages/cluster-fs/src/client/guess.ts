/**
 * Mapping a file before the node is asked for a lease. Most files are where the segment says when the node
 * grants the lease, and then one question is enough.
 *
 * INVARIANT: nobody touches the pages before the node has said that the guess was right.
 */
import type { Guess } from '@cluster-fs/transport';
import { pageSize } from '../segment/layout.ts';
import { applyExtents, type Mapping, mappedLength, part, reserveMapping } from './mapping.ts';
import type { MapOptions, Seen } from './worker-protocol.ts';

export interface Guessed {
  readonly mapping: Mapping;
  readonly guess: Guess;
}

/** Maps a file as it was seen. The caller unmaps it when the guess was wrong. */
export function mapSeen(options: MapOptions, seen: Seen, dataFd: number): Guessed {
  const { offset, length, reserve, mode, path } = options;
  const { ino, generation, layoutVersion, size } = seen;
  const shown = Math.max(length ?? Math.max(0, size - offset), reserve ?? 0);
  const from = offset / pageSize;
  const count = Math.ceil(shown / pageSize);
  const mapping = reserveMapping({ from, pages: count, mode, label: path });
  const extents = seen.extents.flatMap((extent) => part(extent, from, from + count));
  applyExtents(mapping, { dataFd, userfault: undefined }, { from, count, extents });
  const { address } = mapping;
  return { mapping, guess: { ino, generation, layoutVersion, address, length: mappedLength(mapping) } };
}
