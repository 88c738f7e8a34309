/** Looking for events before the event loop of the calling thread goes to sleep (uv_prepare_t, poll(2)). */
import { addon, checked } from './binding.ts';

/** A look: whether anything was ready before its time was over, and how long it took. */
export interface Look {
  readonly caught: boolean;
  readonly microseconds: number;
}

export interface LoopSpin {
  /**
   * Before the loop waits the next time it looks for so many microseconds (at most 1000) whether any of its
   * descriptors is ready; 0: not at all. Timers are in time, and whoever waits for this processor has it
   * first. Returns the look before, undefined when there was none.
   */
  next(microseconds: number): Look | undefined;
  /** Never looks again. Safe to call twice. */
  close(): void;
}

/** It does not keep the thread alive. */
export function spinLoop(): LoopSpin {
  const made = addon.createSpin();
  if (typeof made === 'number') checked(made, 'epoll_wait');
  let handle: object | undefined = made as object;
  return {
    next: (microseconds) => {
      const took = handle === undefined ? 0 : addon.spinOnce(handle, microseconds);
      return took === 0 ? undefined : { caught: took > 0, microseconds: Math.abs(took) };
    },
    close: () => {
      if (handle !== undefined) addon.closeSpin(handle);
      handle = undefined;
    },
  };
}
