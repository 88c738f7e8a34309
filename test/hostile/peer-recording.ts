/** What an honest node says to its home, frame by frame: what hostile ones say is made of it. */
import { expect } from 'vitest';
import { mountForTest, startNodeProcess } from '../chaos/node-process.ts';
import { startLine } from '../cluster/line.ts';
import { pack } from './message-pack.ts';

/** docs/peer-protocol.md: two lengths, of body and payload. */
const headerBytes = 8;
export const ids = { hello: 16, follow: 19, blockHello: 138 } as const;

/** A node joins, does something of everything on files in `/fuzz`, and leaves. */
export async function recordNode(peerPort: number): Promise<Buffer[]> {
  const line = await startLine(peerPort, { limitMs: 30_000 });
  const member = await startNodeProcess({ joinPort: line.port, name: 'recorded' });
  const fs = await mountForTest(member);
  const files = fs.promises;
  await files.mkdir('/fuzz');
  await files.writeFile('/fuzz/file', Buffer.alloc(200_000, 1));
  const handle = await files.open('/fuzz/file', 'r+');
  await handle.write(Buffer.alloc(5000, 2), 0, 5000, 70_000);
  await handle.truncate(150_000);
  await handle.sync();
  await handle.close();
  await files.rename('/fuzz/file', '/fuzz/other');
  await files.chmod('/fuzz/other', 0o640);
  await files.symlink('other', '/fuzz/link');
  await files.appendFile('/fuzz/other', 'x');
  const view = await fs.map('/fuzz/other', { mode: 'rw' });
  for (let at = 0; at < view.bytes.length; at += 65_536) view.bytes[at] = 3;
  await view.sync();
  view.close();
  await files.readFile('/fuzz/other');
  await member.stop();
  const frames = framesIn(await line.said());
  expect(frames.length).toBeGreaterThan(30);
  return frames;
}

function framesIn(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = headerBytes + bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4);
    frames.push(bytes.subarray(at, at + length));
    at += length;
  }
  return frames;
}

/** Of a message in msgpack: a list of fewer than 16 values, of which the first is the type. */
export const typeOf = (frame: Buffer): number => {
  const type = frame[headerBytes + 1] ?? 0;
  return type === 0xcc ? (frame[headerBytes + 2] ?? 0) : type;
};

export function frameOf(body: Uint8Array, payload: Uint8Array = new Uint8Array(0)): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32LE(body.length, 0);
  header.writeUInt32LE(payload.length, 4);
  return Buffer.concat([header, body, payload]);
}

/** Of a node that joins for the first time. */
export const helloOf = (nodeId: number, protocol: number): Buffer =>
  frameOf(pack([ids.hello, 1, protocol, Buffer.alloc(16), nodeId, `fuzz-${nodeId}`, 1]));
