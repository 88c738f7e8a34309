/** STags of this node's files (coherence/tags.ts), bound to inodes and their pages. */
import { FsError } from '@cluster-fs/transport';
import type { PeerRequest } from '@cluster-fs/transport/peer';
import { Tags, type TagsWorld } from 'cluster-fs/coherence';
import { InodeCopy, isFile, readInode } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { moved } from '../coordinator/elsewhere.ts';
import { assertNotPinned } from '../coordinator/pinned.ts';
import { fillForWriters } from '../coordinator/views.ts';
import type { LentMark } from './lent-mark.ts';
import { newStag, StagMap } from './stag-map.ts';

interface Files {
  readonly mark: LentMark;
  /** Whether this node keeps the file. */
  readonly isOwn: (ino: number) => boolean;
  /** Throws for one that it has lost. */
  readonly assertHas: (ino: number) => void;
}

export function tagsOf(
  c: Coordinator,
  { mark }: Pick<Files, 'mark'>,
  forget: TagsWorld<Uint8Array>['forget'],
): Tags<Uint8Array> {
  return new Tags({
    newMap: <T>() => new StagMap<T>(),
    newStag,
    given: (ino) => {
      mark.set();
      c.refer(ino);
    },
    ended: (ino) => c.unrefer(ino),
    fill: async ({ ino, mode }) => {
      // Who may store anywhere must have pages everywhere.
      if (mode === 'rw') await fillForWriters(c, ino);
    },
    forget,
  });
}

/** ESTALE when it is another file by now, EAGAIN when it has another home, EBUSY when it is pinned here. */
export function assertMayGive(
  c: Coordinator,
  { isOwn, assertHas }: Files,
  { ino, generation, mode }: PeerRequest<'tagOpen'>,
): void {
  const inode = new InodeCopy();
  if (!readInode(c.segment, ino, inode) || inode.generation !== generation || !isFile(inode.mode))
    throw new FsError('ESTALE', 'stag', { why: `inode ${ino} is gone` });
  assertHas(ino);
  if (!isOwn(ino)) throw moved('stag');
  assertNotPinned(c, ino, mode);
}

interface Pinning {
  readonly ino: number;
  readonly mode: 'r' | 'rw';
  /** Nodes may store into it that have not opened it here yet. */
  readonly isInherited: boolean;
}

/** EBUSY when a client of this node cannot have the file pinned in that mode; EAGAIN before that is known. */
export function assertMayPin(tags: Tags<Uint8Array>, { ino, mode, isInherited }: Pinning): void {
  if (isInherited)
    throw new FsError('EAGAIN', 'map', {
      why: 'the file has come here, and other nodes are about to open it',
    });
  for (const tag of tags.on(ino))
    if (mode === 'rw' || tag.mode !== 'r')
      throw new FsError('EBUSY', 'map', {
        why: 'another node uses the file, and this client has it pinned',
      });
}
