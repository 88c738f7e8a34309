/**
 * Readiness of a descriptor on the event loop of the calling thread (uv_poll_t, epoll(7)). No thread of the
 * libuv pool is involved.
 */
import { addon, checked } from './binding.ts';

export const readableBit = 1;
export const writableBit = 2;

export interface DescriptorPoll {
  /** What to be called for; nothing at first. */
  watch(interest: { readonly readable: boolean; readonly writable: boolean }): void;
  /** Never calls again. Safe to call twice. The caller's descriptor stays open. */
  close(): void;
  /** Whether this alone keeps the thread alive while it watches; it does at first. */
  ref(): void;
  unref(): void;
}

/**
 * Calls `callback` with `readableBit | writableBit` for as long as `fd` is ready (level-triggered). The end
 * of a stream and an error show as whatever is watched: the next read or write tells which. What the callback
 * throws becomes an 'uncaughtException'.
 *
 * The poll has a duplicate of `fd` and keeps the open file until it is closed. EPERM for a regular file,
 * which is always ready; EBADF; EMFILE.
 */
export function pollDescriptor(fd: number, callback: (bits: number) => void): DescriptorPoll {
  const made = addon.pollDescriptor(fd, callback);
  if (typeof made === 'number') checked(made, 'poll');
  let handle: object | undefined = made as object;
  return {
    watch: ({ readable, writable }) => {
      if (handle === undefined) return;
      const bits = (readable ? readableBit : 0) | (writable ? writableBit : 0);
      checked(addon.watchPoll(handle, bits), 'poll');
    },
    close: () => {
      if (handle !== undefined) addon.closePoll(handle);
      handle = undefined;
    },
    ref: () => {
      if (handle !== undefined) addon.refPoll(handle, true);
    },
    unref: () => {
      if (handle !== undefined) addon.refPoll(handle, false);
    },
  };
}
