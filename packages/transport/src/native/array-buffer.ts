/**
 * ArrayBuffers over mapped memory. The memory stays the caller's: a buffer neither keeps the mapping nor
 * unmaps it when it is collected, and V8 does not count its length as pressure on the heap.
 */
import { markAsUntransferable } from 'node:worker_threads';
import { FsError } from '../errors.ts';
import { addon, checked, v8Buffer } from './binding.ts';

const refused = 'this runtime does not allow buffers over outside memory (a V8 memory cage)';
const unknown =
  'no SharedArrayBuffer over mapped memory: run `node scripts/build-addon.mjs` in @cluster-fs/transport' +
  ' with this Node, or use Node 22.23, 24.16, 26.1 or later';

/**
 * An ArrayBuffer over `length` bytes at `address`. Make one per mapping and hand out typed arrays on it.
 * postMessage does not transfer it, so that it cannot slip away from `detachArrayBuffer`; only
 * `buffer.transfer()`, on Node 22 and later, still does. ENOTSUP where the runtime forbids such buffers.
 */
export function arrayBufferAt(address: number, length: number): ArrayBuffer {
  const buffer = v8Buffer.arrayBufferAt?.(address, length) ?? addon.arrayBufferAt(address, length);
  if (typeof buffer === 'number') {
    throw new FsError('ENOTSUP', 'napi_create_external_arraybuffer', { why: refused });
  }
  markAsUntransferable(buffer);
  return buffer;
}

/**
 * Takes the memory away from an ArrayBuffer: its length is 0 from here, and so is that of every array on it.
 * EINVAL when it cannot be detached.
 */
export const detachArrayBuffer = (buffer: ArrayBuffer): void => {
  checked(addon.detachArrayBuffer(buffer), 'napi_detach_arraybuffer');
};

/**
 * A SharedArrayBuffer over `length` bytes at `address`. It cannot be detached, and other threads may have it:
 * the addresses must stay mapped to something for as long as the process lives. ENOTSUP where neither this
 * Node has it nor our binary was built for it.
 */
export function sharedArrayBufferAt(address: number, length: number): SharedArrayBuffer {
  const buffer =
    v8Buffer.sharedArrayBufferAt?.(address, length) ?? addon.sharedArrayBufferAt(address, length);
  if (typeof buffer === 'number') {
    throw new FsError('ENOTSUP', 'node_api_create_external_sharedarraybuffer', { why: unknown });
  }
  return buffer;
}

/** Where the memory of a typed array or DataView is. A TypeError for an empty or detached one. */
export const addressOf = (view: ArrayBufferView): number => addon.addressOf(view);
