/**
 * A file, mapped: its bytes as an array, in place.
 *
 *   npm run example -- 01
 *
 * Look at the last lines: the file got new content, and the array that was there before shows it, at the same
 * address. Nothing was read again.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mount } from 'cluster-fs';

const directory = mkdtempSync(join(tmpdir(), 'cluster-fs-hello-'));
const fs = await mount(directory); // no node serves this directory yet, so this process becomes its node
process.once('SIGINT', () => fs.unmount());
try {
  await fs.promises.writeFile('/numbers.f32', new Float32Array([1, 2, 3]));
  const view = await fs.map('/numbers.f32');
  const numbers = new Float32Array(view.buffer);
  console.log(`mapped   ${numbers.join(' ')}   at 0x${view.address.toString(16)}`);
  assert.deepEqual([...numbers], [1, 2, 3]);

  const { size } = fs.statSync('/numbers.f32'); // read from shared memory: no round trip to the node
  console.log(`stat     ${size} bytes`);
  assert.equal(size, numbers.byteLength);

  await fs.promises.writeFile('/numbers.f32', new Float32Array([4, 5, 6])); // all three, or none
  console.log(`replaced ${numbers.join(' ')}   at 0x${view.address.toString(16)}`);
  assert.deepEqual([...numbers], [4, 5, 6]);
} finally {
  await fs.unmount();
  rmSync(directory, { recursive: true });
}
