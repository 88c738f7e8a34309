/** Changing where a file lies when everybody who maps it has followed the change before. */
import type { Coordinator } from './coordinator.ts';
import { type Asker, recalling } from './recall.ts';
import type { View } from './session.ts';

/** A client that has not answered for so long is stopped, and holds nobody up. */
export const answerMs = 1000;

/**
 * Runs `change` in a commit of its own, as the only one that changes the file's layout. Pinned clients that
 * it meets are recalled, and then it runs anew.
 *
 * A client that is about to map what it was told before would map it over what is armed now: a store there
 * would go to pages that the file has left, and be lost. One that is stopped finds both changes together when
 * it goes on, and passes over the first.
 */
export function changeLayout<T>(c: Coordinator, asker: Asker, ino: number, change: () => T): Promise<T> {
  return recalling(c, ino, asker, (attempt) =>
    attempt(() =>
      c.alone(ino, () => {
        const leftMs = longestWait(c, ino);
        return leftMs > 0 ? afterAnswers(c, ino, leftMs, change) : c.journal.mutate(change);
      }),
    ),
  );
}

async function afterAnswers<T>(c: Coordinator, ino: number, ms: number, change: () => T): Promise<T> {
  for (let leftMs = ms; leftMs > 0; leftMs = longestWait(c, ino)) await c.answers.next(leftMs);
  return c.journal.mutate(change);
}

function longestWait(c: Coordinator, ino: number): number {
  let longest = 0;
  for (const view of c.viewsOf(ino)) longest = Math.max(longest, waitFor(view, c.now()));
  return longest;
}

/** How long the view's answer is worth waiting for; 0 when it owes none. */
function waitFor({ unanswered, session }: View, now: number): number {
  const [oldest] = session.ended ? [] : unanswered;
  // The clock may have been set back.
  return oldest === undefined ? 0 : Math.min(answerMs, oldest.sentMs + answerMs - now);
}
