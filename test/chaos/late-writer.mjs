/**
 * A client that begins a write in place and stops before it stores: `socketPath` in argv. When it hears
 * anything it stores all the same, as a process does that was stopped inside pwrite(2), and tells how its
 * write ended.
 */
import { writeSync } from 'node:fs';
import { openRawSession } from './raw-session.mjs';
import './parent.mjs';

const { connection, descriptors } = await openRawSession(process.argv[2] ?? '');
const { handle } = await connection.request('open', { path: '/file', flags: 2, mode: 0o644 });
const length = 64 * 4096;
const { grant, extents } = await connection.request('writeBegin', { handle, offset: 0, length });

process.on('message', async () => {
  for (const { page, count } of extents) {
    writeSync(descriptors[1] ?? -1, Buffer.alloc(count * 4096, 0xee), 0, count * 4096, page * 4096);
  }
  const code = await connection.request('writeEnd', { grant, written: length }).then(
    () => 'written',
    (error) => error.code,
  );
  process.send?.({ kind: 'ended', code });
});
process.send?.({ kind: 'begun' });
