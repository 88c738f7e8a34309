/** STags of another node's files (coherence/held-tags.ts), bound to the line there. */
import type { PeerReply, PeerRequest } from '@cluster-fs/transport/peer';
import { HeldTags, type HeldTagsWorld, type Holder } from 'cluster-fs/coherence';
import { InodeCopy, readInode, type Segment } from 'cluster-fs/segment';
import type { Line } from './line.ts';
import { StagMap } from './stag-map.ts';

/** Read again and again. */
const seen = new InodeCopy();

export function heldTagsOf(
  segment: Segment,
  line: Line,
  holder: () => Pick<Holder<Buffer>, 'said' | 'isWelcome'>,
  session: HeldTagsWorld<Uint8Array>['session'],
): HeldTags<Uint8Array> {
  return new HeldTags({
    newMap: <T>() => new StagMap<T>(),
    session,
    said: () => holder().said,
    isWelcome: () => holder().isWelcome,
    generationOf: (ino) => (readInode(segment, ino, seen) ? seen.generation : undefined),
    ask: (asked) => ask(line, holder, asked),
    tell: (name, stag) => line.current?.event(name, { stag }),
  });
}

/** A welcome is waited for as an answer is, as long as a link is up: a touch does not fail meanwhile. */
async function ask(
  line: Line,
  holder: () => Pick<Holder<Buffer>, 'isWelcome'>,
  asked: PeerRequest<'tagOpen'>,
): Promise<PeerReply<'tagOpen'> | undefined> {
  const look = () => (holder().isWelcome ? line.current : undefined);
  const link = await line.told(look, Number.POSITIVE_INFINITY);
  try {
    return (await link.request('tagOpen', asked)).reply;
  } catch (error) {
    if (link.closed === undefined) throw error;
    return undefined;
  }
}
