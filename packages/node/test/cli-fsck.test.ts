/** `clusterfs fsck`: silent on whole stores, a line for each damage, and clean again after --repair. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  cpSync,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { type ClusterFs, mount, runDirectory } from 'cluster-fs';
import { beforeAll, expect, test } from 'vitest';
import { decodeInode, encodeInode } from '../src/metadata/inode-record.ts';
import { openLoggedStore } from '../src/metadata/logged-store.ts';
import type { InodeRow } from '../src/metadata/store.ts';
import { type Ended, makeHome, run, type Served, serve } from './cli-process.ts';

const page = 4096;
const home = makeHome();
const whole = join(home, 'whole');
const sound = 'sound: nothing was found\n';
const a = randomBytes(20 * page);
const b = randomBytes(10 * page);

const fsck = (store: string, ...more: readonly string[]): Promise<Ended> =>
  run(['fsck', '--store', store, ...more]);

async function withStore(store: string, work: (fs: ClusterFs, node: Served) => Promise<void>): Promise<void> {
  const node = await serve(['--store', store]);
  const fs = await mount(node.url);
  await work(fs, node);
  await fs.unmount();
  if (node.process.exitCode === null && node.process.signalCode === null) await node.interrupt();
}

let running: Ended;
let killed: Ended;
let killedRepair: Ended;

beforeAll(async () => {
  await withStore(whole, async (fs, node) => {
    await fs.promises.mkdir('/dir/sub', { recursive: true });
    await fs.promises.writeFile('/dir/a', a);
    await fs.promises.writeFile('/dir/sub/b', b);
    await fs.promises.link('/dir/a', '/second');
    await fs.promises.symlink('dir', '/symlink');
    await fs.promises.truncate('/dir/sub/b', 100 * page);
    await fs.sync();
    // Dirty, and in the redo log, when the node is killed.
    await fs.promises.writeFile('/small', 'small');
    await fs.sync('/small');
    await fs.promises.writeFile('/unsynced', a);
    const handle = await fs.promises.open('/gone', 'w');
    await fs.promises.unlink('/gone');
    running = await fsck(whole);
    node.process.kill('SIGKILL');
    await node.ended;
    killed = await fsck(whole);
    killedRepair = await fsck(whole, '--repair');
    await handle.close().catch((error: NodeJS.ErrnoException) => expect(error.code).toBeTruthy());
    rmSync(runDirectory(whole), { recursive: true });
  });
}, 30_000);

test('a node that runs has its store; the memory of a killed one is not repaired around', () => {
  expect(running).toMatchObject({ code: 1, stderr: expect.stringMatching(/EBUSY.*a node has the store/) });
  expect(killed).toMatchObject({ code: 0, stdout: sound, stderr: '' });
  expect(killedRepair).toMatchObject({ code: 1, stderr: expect.stringMatching(/EBUSY.*left its memory/) });
});

test('what a stopped node has left to its clients is for the next one, and not repaired around', async () => {
  const store = copyOf(whole);
  const memory = runDirectory(store);
  const node = await serve(['--store', store]);
  const fs = await mount(node.url);
  await node.stop();
  const other = await serve();
  expect(existsSync(memory)).toBe(true);
  expect(await fsck(store, '--repair')).toMatchObject({ code: 1, stderr: expect.stringMatching(/EBUSY/) });
  await fs.unmount();
  await (await serve(['--store', store])).stop();
  expect(existsSync(memory)).toBe(false);
  expect(await fsck(store, '--repair')).toMatchObject({ code: 0, stderr: '' });
  await other.stop();
});

test('when its clients have gone it goes with the start of another node, after ten minutes', async () => {
  const store = copyOf(whole);
  const node = await serve(['--store', store]);
  const fs = await mount(node.url);
  await node.stop();
  await fs.unmount();
  await (await serve()).stop();
  expect(existsSync(runDirectory(store))).toBe(true);
  const elevenMinutesAgo = new Date(Date.now() - 660_000);
  utimesSync(join(runDirectory(store), 'disposable'), elevenMinutesAgo, elevenMinutesAgo);
  await (await serve()).stop();
  expect(existsSync(runDirectory(store))).toBe(false);
});

test('a store is sound after a loss of power, and after the next start and stop', async () => {
  const store = copyOf(whole);
  const before = readFileSync(join(store, 'metadata.db'));
  expect(await fsck(store)).toMatchObject({ code: 0, stdout: sound });
  expect(readFileSync(join(store, 'metadata.db')).equals(before), 'nothing was written').toBe(true);
  await withStore(store, async (fs) => {
    expect(fs.readFileSync('/small', 'utf8')).toBe('small');
    await fs.promises.writeFile('/dir/more', a.subarray(0, 5 * page + 7));
    await fs.promises.punchHole('/dir/a', 0, 3 * page);
  });
  expect(await fsck(store, '--repair')).toMatchObject({ code: 0, stdout: sound });
}, 30_000);

test('no store, and no database, are errors', async () => {
  expect((await fsck(join(home, 'none'))).stderr).toMatch(/^clusterfs fsck: ENOENT: .*no store/);
  const store = copyOf(whole);
  truncateSync(join(store, 'metadata.db'), 3000);
  expect((await fsck(store)).stderr).toMatch(/^clusterfs fsck: EIO: .*metadata\.db/);
});

let copies = 0;
function copyOf(from: string): string {
  const to = join(home, `copy-${copies++}`);
  cpSync(from, to, { recursive: true });
  return to;
}

/** A copy whose rows are all in SQLite, where damage can be planted. */
function settledCopyOf(from: string): string {
  const to = copyOf(from);
  openLoggedStore(to).close();
  return to;
}

const sql = (text: string) => (store: string) => {
  const db = new Database(join(store, 'metadata.db'));
  db.exec(text);
  db.close();
};
/** Other numbers for the inode that has a name. */
const inode =
  (name: string, change: (all: (name: string) => InodeRow) => Partial<InodeRow>) => (store: string) => {
    const db = new Database(join(store, 'metadata.db'));
    const record = db.prepare<[string], Buffer>(
      'SELECT record FROM inode WHERE ino = (SELECT ino FROM dirent WHERE name = ?)',
    );
    const rowOf = (of: string): InodeRow => decodeInode(record.pluck().get(of) as Buffer);
    const row = { ...rowOf(name), ...change(rowOf) };
    db.prepare('UPDATE inode SET record = ? WHERE ino = ?').run(encodeInode(row), row.ino);
    db.close();
  };
const ino = (name: string): string => `(SELECT ino FROM dirent WHERE name = '${name}')`;

/** Flips a bit of the fourth page that is stored of /dir/a. */
function flip(store: string): void {
  const db = new Database(join(store, 'metadata.db'));
  db.exec('DELETE FROM redo');
  const place = db
    .prepare(`SELECT place FROM stored WHERE ino = ${ino('a')}`)
    .pluck()
    .get() as number;
  db.close();
  const fd = openSync(join(store, 'data'), 'r+');
  const at = (place + 3) * page + 77;
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, at);
  writeSync(fd, Buffer.of((byte[0] ?? 0) ^ 1), 0, 1, at);
  closeSync(fd);
}

interface Damage {
  readonly what: string;
  readonly plant: (store: string) => void;
  readonly found: RegExp;
  /** What --repair says; undefined when it can do nothing. */
  readonly mended: RegExp | undefined;
}

const damages: readonly Damage[] = [
  {
    what: 'a bit of a page',
    plant: flip,
    found: /^\/(dir\/a|second): bytes 12288 to 16384: damaged in the store, place \d+$/m,
    mended: /^mended: \/(dir\/a|second): lost: bytes 12288 to 16384$/m,
  },
  {
    what: 'a data file that is cut',
    plant: (store) => {
      sql('DELETE FROM redo')(store);
      truncateSync(join(store, 'data'), 5 * page);
    },
    found: /: damaged in the store, place 5$/m,
    mended: /^mended: .* lost: bytes /m,
  },
  {
    what: 'a place with two owners',
    plant:
      sql(`INSERT INTO stored SELECT ${ino('b')}, 50, count, place, sums FROM stored WHERE ino = ${ino('a')};
      UPDATE durable SET mtime_ms = 1 WHERE ino = ${ino('b')}`),
    found: /^\/dir\/sub\/b: bytes 204800 to 286720: overwritten by something newer in the store, place \d+$/m,
    mended: /^mended: \/dir\/sub\/b: lost: bytes 204800 to 286720$/m,
  },
  {
    what: 'what is stored of no inode',
    plant: sql(`INSERT INTO stored SELECT 999, file_page, 1, 5000, substr(sums, 1, 8) FROM stored LIMIT 1`),
    found: /^inode 999: what is stored at file page 0 belongs to inode 999, which is no file$/m,
    mended: /^mended: inode 999: dropped; lost: bytes 0 to 4096$/m,
  },
  {
    what: 'a row with too few sums',
    plant: sql(`UPDATE stored SET sums = substr(sums, 1, 8) WHERE ino = ${ino('a')}`),
    found: /what is stored at file page 0 has 20 pages and 1 sums$/m,
    mended: /dropped; lost: bytes 0 to 81920$/m,
  },
  {
    what: 'a file page that is stored twice',
    plant: sql(`INSERT INTO stored SELECT ino, file_page + 1, 1, 6000, substr(sums, 9, 8) FROM stored
      WHERE ino = ${ino('a')}`),
    found: /bytes 4096 to 8192: damaged in the store, place 6000$/m,
    mended: /lost: bytes 4096 to 8192$/m,
  },
  {
    what: 'durable and dirty of no inode',
    plant: sql('INSERT INTO durable VALUES (999, 1, 1, 1); INSERT INTO dirty VALUES (998)'),
    found: /^inode 999: is in durable, and not there\ninode 998: is in dirty, and not there$/m,
    mended: /removed from durable\nmended: inode 998: removed from dirty$/m,
  },
  {
    what: 'a name of no inode',
    plant: sql(`INSERT INTO dirent VALUES (1, 'ghost', 999)`),
    found: /^'ghost' in \/: names inode 999, which is not there$/m,
    mended: /^mended: removed the name 'ghost' in \/$/m,
  },
  {
    what: 'a name in no directory',
    plant: sql(`INSERT INTO dirent VALUES (999, 'lost', ${ino('small')})`),
    found: /inode 999 is no directory$/m,
    mended: /^mended: removed the name 'lost' in inode 999$/m,
  },
  {
    what: 'wrong links of a file',
    plant: inode('a', () => ({ nlink: 7 })),
    found: /: has 7 links, should have 2$/m,
    mended: /: links set to 2$/m,
  },
  {
    what: 'wrong links and parent of a directory',
    plant: inode('sub', () => ({ nlink: 5, parent: 1 })),
    found: /^\/dir\/sub: has 5 links, should have 2\n\/dir\/sub: is in inode \d+, says 1$/m,
    mended: /links set to 2\nmended: \/dir\/sub: parent set to inode \d+$/m,
  },
  {
    what: 'a directory without a name',
    plant: sql(`DELETE FROM dirent WHERE name = 'sub'`),
    found: /^inode \d+: has 2 links and no name$/m,
    mended: /named \/lost\+found\.\d+$/m,
  },
  {
    what: 'a circle of directories',
    plant: sql(`UPDATE dirent SET parent = ${ino('sub')} WHERE name = 'dir'`),
    found: /is in a circle of directories, not below the root$/m,
    mended: undefined,
  },
  {
    what: 'two files in one place of the segment',
    plant: inode('b', (of) => ({ extents: of('small').extents })),
    found: /^\/dir\/sub\/b: shares page \d+ of the segment with another file$/m,
    mended: /^mended: \/dir\/sub\/b: laid anew from what is stored, as at its last sync$/m,
  },
  {
    what: 'an extent outside of the segment',
    plant: inode('small', () => ({ extents: [{ filePage: 0, page: 0x7fff_ffff, count: 1 }] })),
    found: /^\/small: the extent at file page 0 is outside of the segment$/m,
    mended: /^mended: \/small: laid anew/m,
  },
  {
    what: 'a record of an inode that is cut',
    plant: sql(`UPDATE inode SET record = substr(record, 1, 96) WHERE ino = ${ino('small')}`),
    found: /^\/small: the record of inode \d+ is not whole$/m,
    mended: undefined,
  },
  {
    what: 'a data file that is gone',
    plant: (store) => rmSync(join(store, 'data')),
    found: /data: ENOENT/,
    mended: undefined,
  },
  {
    what: 'a header of another store',
    plant: sql(`UPDATE superblock SET value = '00' WHERE key = 'segmentId'`),
    found: /data: EINVAL: .*belongs to another metadata\.db/,
    mended: undefined,
  },
];

test.each(damages)('finds $what', async ({ plant, found, mended }) => {
  const store = settledCopyOf(whole);
  plant(store);
  const first = await fsck(store);
  expect(first).toMatchObject({ code: 1, stdout: expect.stringMatching(found), stderr: '' });
  const second = await fsck(store, '--repair');
  expect(second.stdout).toMatch(found);
  if (mended === undefined) {
    expect(second).toMatchObject({ code: 1, stdout: expect.stringMatching(/^not mended: /m) });
    return;
  }
  expect(second).toMatchObject({ code: 0, stdout: expect.stringMatching(mended), stderr: '' });
  expect(await fsck(store)).toMatchObject({ code: 0, stdout: sound });
});

test('a node starts with what was mended: what is lost is zeros, the rest is as it was', async () => {
  const store = settledCopyOf(whole);
  flip(store);
  sql(`DELETE FROM dirent WHERE name = 'sub'`)(store);
  inode('small', () => ({ extents: [] }))(store);
  const report = JSON.parse((await fsck(store, '--repair', '--json')).stdout);
  expect(report).toMatchObject({ left: [], findings: expect.any(Array) });
  expect(report.mended.length).toBeGreaterThanOrEqual(2);
  await withStore(store, async (fs) => {
    expect(fs.existsSync('/unsynced')).toBe(false);
    const expected = Buffer.from(a).fill(0, 3 * page, 4 * page);
    expect((await fs.promises.readFile('/second')).equals(expected)).toBe(true);
    const found = fs.readdirSync('/').find((name) => name.startsWith('lost+found.'));
    const bytes = await fs.promises.readFile(`/${found}/b`);
    expect(bytes.subarray(0, b.length).equals(b)).toBe(true);
    expect(await fs.check()).toEqual([]);
  });
}, 30_000);
