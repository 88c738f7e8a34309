/**
 * ArrayBuffers over mapped memory. The memory stays the caller's: a buffer neither keeps the mapping nor
 * unmaps it when it is collected, and V8 does not count its length as pressure on the heap.
 */
import { markAsUntransferable } from 'node:worker_threads';
import { FsError } from '../errors.ts';
import { addon, checked, type V8Buffer, v8Buffer } from './binding.ts';

const refused = 'this runtime does not allow buffers over outside memory (a V8 memory cage)';
const unknown =
  'no SharedArrayBuffer over mapped memory: run `node scripts/build-addon.mjs` in @cluster-fs/transport' +
  ' with this Node, or use Node 22.23, 24.16, 26.1 or later';

/**
 * Whether this Node lets go of no buffer that has a detach key. Those that do use a key of their own to mark
 * buffers, too, so that we could not detach ours any more; those that do not abort where they meet a key.
 */
const honoursDetachKeys = v8Buffer !== undefined && marksByKey(v8Buffer);

function marksByKey({ detachArrayBuffer }: V8Buffer): boolean {
  const probe = new ArrayBuffer(1);
  markAsUntransferable(probe);
  return !detachArrayBuffer(probe, false);
}

/**
 * An ArrayBuffer over `length` bytes at `address`. Make one per mapping and hand out typed arrays on it.
 * postMessage does not transfer it, so that it cannot slip away from `detachArrayBuffer`; only
 * `buffer.transfer()`, on Node 22 and early 24, still does. ENOTSUP where the runtime forbids such buffers.
 */
export function arrayBufferAt(address: number, length: number): ArrayBuffer {
  if (v8Buffer !== undefined) {
    const buffer = v8Buffer.arrayBufferAt(address, length, honoursDetachKeys);
    if (!honoursDetachKeys) markAsUntransferable(buffer);
    return buffer;
  }
  const buffer = addon.arrayBufferAt(address, length); // which Node marks
  if (typeof buffer !== 'number') return buffer;
  throw new FsError('ENOTSUP', 'napi_create_external_arraybuffer', { why: refused });
}

/**
 * Takes the memory away from an ArrayBuffer: its length is 0 from here, and so is that of every array on it.
 * EINVAL when it cannot be detached. Requires, where only Node-API makes them: `arrayBufferAt` made it.
 */
export function detachArrayBuffer(buffer: ArrayBuffer): void {
  if (v8Buffer === undefined) {
    checked(addon.detachArrayBuffer(buffer), 'napi_detach_arraybuffer');
  } else if (!v8Buffer.detachArrayBuffer(buffer, honoursDetachKeys)) {
    throw new FsError('EINVAL', 'v8::ArrayBuffer::Detach');
  }
}

/**
 * A SharedArrayBuffer over `length` bytes at `address`. It cannot be detached, and other threads may have it:
 * the addresses must stay mapped to something for as long as the process lives. ENOTSUP where neither this
 * Node has it nor our binary was built for it.
 */
export function sharedArrayBufferAt(address: number, length: number): SharedArrayBuffer {
  const buffer = (v8Buffer ?? addon).sharedArrayBufferAt(address, length);
  if (typeof buffer === 'number') {
    throw new FsError('ENOTSUP', 'node_api_create_external_sharedarraybuffer', { why: unknown });
  }
  return buffer;
}

/** Where the memory of a typed array or DataView is. A TypeError for an empty or detached one. */
export const addressOf = (view: ArrayBufferView): number => addon.addressOf(view);
