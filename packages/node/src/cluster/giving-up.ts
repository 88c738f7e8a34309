/**
 * A node that stops gives the blocks of a home back: not more at once than the link takes, and until the home
 * says that they are there.
 */
import type { PeerLink } from '@cluster-fs/transport/peer';
import type { Holder } from 'cluster-fs/coherence';
import { standDownMs } from '../coordinator/sync.ts';

const pollMs = 5;
const blocksAtOnce = 128;
/** As many bytes that wait for the link are enough. */
const queuedBytes = blocksAtOnce * 65_536;

/**
 * Resolves when nothing is left, or nothing more has gone for too long: for `clientMs` while a client here is
 * in the way, and longer while the home, to which there is a link, says nothing of what is on its way.
 */
export async function giveUpBlocks(
  holder: Holder<Buffer>,
  link: () => PeerLink | undefined,
  clientMs: number,
): Promise<void> {
  let fewest = Number.POSITIVE_INFINITY;
  let sinceMs = 0;
  for (;;) {
    const isBusy = (link()?.queuedBytes ?? 0) >= queuedBytes;
    holder.leave(isBusy ? 0 : blocksAtOnce);
    holder.askHeard();
    const left = holder.cache.blocks.size + [...holder.unsaved()].length;
    if (left === 0) return;
    const nowMs = performance.now();
    if (left < fewest) sinceMs = nowMs;
    fewest = Math.min(fewest, left);
    const isHomesTurn = (isBusy || holder.isSaving) && link() !== undefined;
    if (nowMs >= sinceMs + (isHomesTurn ? standDownMs : clientMs)) return;
    await new Promise((goOn) => setTimeout(goOn, pollMs));
  }
}
