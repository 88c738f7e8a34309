/**
 * A client to be killed: `url` in argv. It has everything a client can have, and is always in the middle of
 * something.
 *
 * Through the library: views, handles (also on a file without a name), and changes that never pause. By
 * hand: a write that was begun and is not ended, pages set aside, a view that was granted and is never
 * mapped.
 */
import { native } from '@cluster-fs/transport';
import { mount } from 'cluster-fs';
import { openRawSession } from './raw-session.mjs';
import './parent.mjs';

const url = process.argv[2] ?? '';
const fs = await mount(url, { label: 'victim' });
const files = fs.promises;

for (let i = 0; i < 100; i++) {
  await fs.map('/shared', { mode: i % 2 === 0 ? 'r' : 'rw', follow: i % 3 === 0 ? 'manual' : 'live' });
}
await files.mkdir('/victim', { recursive: true });
await files.writeFile('/victim/nameless', Buffer.alloc(300_000, 1));
const handles = [await files.open('/victim/nameless', 'r+'), await files.open('/shared', 'r+')];
await files.unlink('/victim/nameless');
void fs.events()[Symbol.asyncIterator]().next();

const { connection } = await openRawSession(url.slice('unix:'.length), {
  userfault: native.createUserfault().fd,
});
const { handle } = await connection.request('open', { path: '/held', flags: 2, mode: 0o644 });
await connection.request('writeBegin', { handle, offset: 0, length: 4096 });
const { size } = await files.stat('/grown');
const grown = await connection.request('open', { path: '/grown', flags: 2, mode: 0o644 });
await connection.request('writeBegin', { handle: grown.handle, offset: size, length: 50_000 });
await connection.request('reserve', { pages: 77 });
await connection.request('lease', { path: '/leased', mode: 'rw', follow: 'live', offset: 0 });

process.send?.({ kind: 'holding' });
for (let i = 0; ; i++) {
  const path = `/victim/${i % 7}`;
  await files.writeFile(path, Buffer.alloc(1 + ((i * 7919) % 400_000), i));
  await files.appendFile(path, Buffer.alloc(10_000, i));
  await handles[1]?.write(Buffer.alloc(200_000, 3), 0, 200_000, 0);
  await files.truncate(path, 5000);
  await files.rename(path, `/victim/${(i + 3) % 7}`);
  process.send?.({ kind: 'worked' });
}
