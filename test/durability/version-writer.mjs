/**
 * Writes versions of files, syncs some, and tells what is acknowledged: node version-writer.mjs URL NAME
 * Every version fills its file with bytes that name it, so that a mixture of two is seen.
 */
import { mount } from 'cluster-fs';
import { versionOf } from './versions.mjs';

const [url, name = ''] = process.argv.slice(2);
const fs = await mount(url);
const files = 4;
const tell = (/** @type {object} */ message) => process.send?.(message);
await fs.promises.mkdir(`/${name}`, { recursive: true });
tell({ kind: 'ready' });
for (let version = 1; ; version++) {
  const path = `/${name}/${version % files}`;
  const bytes = versionOf(path, version);
  try {
    if (version % 3 === 0) await fs.promises.writeFile(path, bytes);
    else await inPlace(path, bytes);
    tell({ kind: 'written', path, version });
    if (version % 2 === 1) continue;
    const handle = await fs.promises.open(path);
    await handle.sync();
    await handle.close();
    tell({ kind: 'synced', path, version });
  } catch (error) {
    // The power is gone: what was under way may be there or not.
    tell({ kind: 'ended', code: error instanceof Error && 'code' in error ? error.code : String(error) });
    break;
  }
}

/** One write of the whole content, over what is there. */
async function inPlace(/** @type {string} */ path, /** @type {Buffer} */ bytes) {
  const handle = await fs.promises.open(path, 'a+').then(async (made) => {
    await made.close();
    return fs.promises.open(path, 'r+');
  });
  try {
    const { bytesWritten } = await handle.write(bytes, 0, bytes.length, 0);
    if (bytesWritten !== bytes.length) throw new Error(`${bytesWritten} of ${bytes.length} bytes`);
  } finally {
    await handle.close().catch(() => undefined);
  }
}
