/** Which content is made in one step, for which all of it is in memory, and which is written as it goes. */
import type { Context } from './context.ts';
import { limits as writeLimits } from './writing.ts';

/** Whether a node with a store may have so much in memory at once. Any other has all that it has there. */
export function fitsInMemory({ requests }: Context, bytes: number): boolean | Promise<boolean> {
  if (bytes <= writeLimits.writeBytes) return true;
  return requests.request('status', {}).then(({ status }) => {
    const { store } = status as { store: { readonly memoryLimitBytes: number } | null };
    return store === null || bytes <= store.memoryLimitBytes;
  });
}
