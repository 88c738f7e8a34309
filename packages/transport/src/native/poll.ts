/**
 * Readiness of a descriptor, on the event loop of the calling thread. No thread of the libuv pool is
 * involved.
 */
import { call, checked } from './binding.ts';

export const readableBit = 1;
export const writableBit = 2;

export interface DescriptorPoll {
  /** What to be called for; nothing at first. */
  watch(interest: { readable: boolean; writable: boolean }): void;
  /** Never calls again. The descriptor stays open: close it after this. Safe to call twice. */
  close(): void;
  /** Whether this alone keeps the process alive; it does at first. */
  ref(): void;
  unref(): void;
}

/**
 * Calls `callback` with `readableBit | writableBit` while `fd` is ready (level-triggered). An error shows as
 * readable.
 */
export function pollDescriptor(fd: number, callback: (bits: number) => void): DescriptorPoll {
  const handle: unknown = call('pollDescriptor', fd, callback);
  if (typeof handle === 'number') checked(handle, 'poll');
  let open = true;
  return {
    watch: ({ readable, writable }) => {
      if (open)
        checked(
          call('watchPoll', handle, (readable ? readableBit : 0) | (writable ? writableBit : 0)),
          'poll',
        );
    },
    close: () => {
      if (open) call('closePoll', handle);
      open = false;
    },
    ref: () => {
      if (open) call('refPoll', handle, true);
    },
    unref: () => {
      if (open) call('refPoll', handle, false);
    },
  };
}
