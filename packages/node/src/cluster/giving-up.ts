/**
 * A node that stops gives the blocks of a home back: not more at once than the link takes, and until the home
 * says that they are there.
 */
import type { PeerLink } from '@cluster-fs/transport/peer';
import type { Holder } from 'cluster-fs/coherence';

const pollMs = 5;
const blocksAtOnce = 128;
/** As many bytes that wait for the link are enough. */
const queuedBytes = blocksAtOnce * 65_536;

/** Resolves when nothing is left, or when for `limitMs` nothing more has gone. */
export async function giveUpBlocks(
  holder: Holder<Buffer>,
  link: () => PeerLink | undefined,
  limitMs: number,
): Promise<void> {
  let fewest = Number.POSITIVE_INFINITY;
  let endMs = 0;
  do {
    const isBusy = (link()?.queuedBytes ?? 0) >= queuedBytes;
    holder.leave(isBusy ? 0 : blocksAtOnce);
    const left = holder.cache.blocks.size + [...holder.unsaved()].length;
    if (left === 0) return;
    if (left < fewest) endMs = performance.now() + limitMs;
    fewest = Math.min(fewest, left);
    await new Promise((goOn) => setTimeout(goOn, pollMs));
  } while (performance.now() < endMs);
}
