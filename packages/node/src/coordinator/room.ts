/** Waiting for pages that a change will need, when they are about to be free. */
import type { Coordinator } from './coordinator.ts';
import { answerMs } from './settled.ts';

const orphanPollMs = 20;
/** Commits worth waiting for: one that frees a file, and the one that frees its pages behind it. */
const commitsToWaitFor = 3;

/**
 * Waits until `pages` are free, and there is memory for them, if that is a matter of moments: what was
 * removed just now is free when it is committed, and when the clients that map it have followed. Who has not
 * answered for `answerMs` is stopped, and is not waited for. ENOSPC when memory does not give way;
 * too few free pages are for whoever takes them to refuse.
 */
export async function makeRoom(c: Coordinator, pages: number): Promise<void> {
  const endMs = performance.now() + answerMs;
  for (let commits = 0; pages > c.writer.pages.free; ) {
    const commit = commits < commitsToWaitFor ? c.journal.nextFlush() : undefined;
    if (commit !== undefined) {
      commits++;
      await commit;
      continue;
    }
    const leftMs = endMs - performance.now();
    const leaving = c.quarantine.leaving(c.now() - answerMs);
    // Other nodes give up what has no name any more.
    const mayLeave = c.blocks !== undefined && c.orphans.size > 0;
    if (leftMs <= 0 || (pages > c.writer.pages.free + leaving && !mayLeave)) break;
    await c.answers.next(mayLeave ? Math.min(leftMs, orphanPollMs) : leftMs);
  }
  await c.evictor?.makeRoom(pages);
}
