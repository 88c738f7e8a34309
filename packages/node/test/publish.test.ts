/** A published directory: the cluster follows the disk, and never shows half a write. */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { type ClusterFs, mount, type View, type ViewEvent } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { makeHome, run, type Served, serve, start } from './cli-process.ts';

interface Published {
  readonly node: Served;
  readonly fs: ClusterFs;
  /** The directory on the disk. */
  readonly disk: string;
  at(name: string): string;
}

const patience = { timeout: 10_000, interval: 20 };

/** A node that publishes a directory, filled before, at /pub. */
async function publish(
  fill: (disk: string) => void = () => undefined,
  args: readonly string[] = [],
): Promise<Published> {
  const disk = join(makeHome(), 'disk');
  mkdirSync(disk);
  fill(disk);
  const node = await serve(['--publish', `${disk}:/pub`, ...args]);
  const fs = await mount(node.url, { label: 'the test' });
  onTestFinished(async () => {
    await fs.unmount();
    if (node.process.exitCode === null && node.process.signalCode === null) {
      expect(await node.run('check')).toMatchObject({ code: 0 });
      expect((await node.stop()).code).toBe(0);
    }
  });
  return { node, fs, disk, at: (name) => join(disk, name) };
}

const read = (fs: ClusterFs, path: string): string | undefined =>
  fs.existsSync(path) ? fs.readFileSync(path, 'utf8') : undefined;
const text = (fs: ClusterFs, path: string) => expect.poll(() => read(fs, path), patience);
const names = (fs: ClusterFs, path: string) => expect.poll(() => fs.readdirSync(path).sort(), patience);
const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('the first load', () => {
  test('has everything before the node is ready, with times and modes', async () => {
    const longAgo = new Date('2001-02-03T04:05:06.789Z');
    const big = randomBytes(20_000_001);
    const { node, fs, at } = await publish((disk) => {
      mkdirSync(join(disk, 'a/b/c'), { recursive: true, mode: 0o750 });
      for (let i = 0; i < 200; i++) writeFileSync(join(disk, `a/b/file-${i}`), `content ${i}`);
      writeFileSync(join(disk, 'a/b/c/big'), big, { mode: 0o640 });
      writeFileSync(join(disk, 'empty'), '', { mode: 0o444 });
      utimesSync(join(disk, 'a/b/c/big'), longAgo, longAgo);
    });
    expect(node.stdout()).toMatch(/^clusterfs: published 202 files, 19.1 MiB from .*disk as \/pub in .*\n/);
    expect(node.stderr()).toBe('');
    expect(fs.readdirSync('/pub/a/b')).toHaveLength(201);
    expect(read(fs, '/pub/a/b/file-137')).toBe('content 137');
    expect(fs.readFileSync('/pub/a/b/c/big').equals(big)).toBe(true);
    expect(fs.statSync('/pub/a/b/c/big').mode & 0o777).toBe(0o640);
    expect(fs.statSync('/pub/a/b/c/big').mtimeMs).toBeCloseTo(statSync(at('a/b/c/big')).mtimeMs, 3);
    expect(fs.statSync('/pub/a/b/c/big').mtime).toEqual(longAgo);
    expect(fs.statSync('/pub/a').mode & 0o777).toBe(statSync(at('a')).mode & 0o777);
    expect(fs.statSync('/pub/empty').mode & 0o777).toBe(0o444);
  });

  test('has a file that is larger than memory, too', async () => {
    const large = randomBytes(50_000_000);
    const { node, fs, at } = await publish(
      (disk) => writeFileSync(join(disk, 'large'), large, { mode: 0o640 }),
      ['--store', join(makeHome(), 'store'), '--memory', '32MiB'],
    );
    expect(node.stdout()).toMatch(/^clusterfs: published 1 file, 47.7 MiB from/);
    expect((await fs.promises.readFile('/pub/large')).equals(large)).toBe(true);
    expect(fs.statSync('/pub/large').mode & 0o777).toBe(0o640);
    expect(fs.statSync('/pub/large').mtimeMs).toBeCloseTo(statSync(at('large')).mtimeMs, 3);
    appendFileSync(at('large'), 'more');
    await expect.poll(() => fs.statSync('/pub/large').size, patience).toBe(50_000_004);
    expect(fs.readdirSync('/pub')).toEqual(['large']);
  });

  test('is told to programs in the ready object', async () => {
    const { node, disk } = await publish((home) => writeFileSync(join(home, 'x'), 'xyz'), ['--json']);
    const { published } = JSON.parse(node.stdout());
    expect(published).toEqual([
      { directory: disk, path: '/pub', files: 1, bytes: 3, elapsedMs: expect.any(Number) },
    ]);
  });

  test('of several directories puts each at its place', async () => {
    const other = makeHome();
    writeFileSync(join(other, 'y'), 'y');
    const { fs } = await publish(
      (disk) => writeFileSync(join(disk, 'x'), 'x'),
      ['--publish', `${other}:/deep/er`],
    );
    expect([read(fs, '/pub/x'), read(fs, '/deep/er/y')]).toEqual(['x', 'y']);
  });

  test('is left at Ctrl-C, with nothing behind', async () => {
    const home = makeHome();
    for (let i = 0; i < 2000; i++) writeFileSync(join(home, `${i}`), randomBytes(20_000));
    const socket = join(makeHome(), 'node.sock');
    const loading = start([
      'serve',
      '--memory',
      '64MiB',
      '--listen',
      `unix:${socket}`,
      '--publish',
      `${home}:/`,
    ]);
    await expect.poll(() => existsSync(socket), patience).toBe(true);
    const { code, stdout, stderr } = await loading.interrupt();
    expect({ code, stdout, stderr }).toEqual({ code: 130, stdout: '', stderr: '' });
    expect(existsSync(socket)).toBe(false);
  });
});

describe('a file that is written', () => {
  test('bit by bit is seen whole or not at all', async () => {
    const { fs, at } = await publish(undefined, ['--settle', '250']);
    const versions = new Set<string>();
    const seen = new Set<string>();
    let isWriting = true;
    const reader = (async () => {
      while (isWriting) {
        if (fs.existsSync('/pub/slow')) seen.add(hashOf(fs.readFileSync('/pub/slow')));
        await turn();
      }
    })();
    for (let round = 0; round < 2; round++) {
      const chunks = Array.from({ length: 50 }, () => randomBytes(10_000));
      versions.add(hashOf(Buffer.concat(chunks)));
      writeFileSync(at('slow'), '');
      for await (const chunk of paced(chunks, 20)) appendFileSync(at('slow'), chunk);
      await expect.poll(() => [...versions].every((version) => seen.has(version)), patience).toBe(true);
    }
    isWriting = false;
    await reader;
    expect(seen).toEqual(versions);
  });

  test('again and again, in place, is never mixed', async () => {
    const { fs, at } = await publish(
      (disk) => writeFileSync(join(disk, 'x'), 'a'.repeat(100_000)),
      ['--settle', '50'],
    );
    const mixed: string[] = [];
    let seen = '';
    for (const letter of 'bcdefgh') {
      writeFileSync(at('x'), letter.repeat(100_000));
      await expect
        .poll(() => {
          const content = fs.readFileSync('/pub/x', 'latin1');
          if (new Set(content).size !== 1 || content.length !== 100_000) mixed.push(content.slice(0, 10));
          seen = content.charAt(0);
          return seen;
        }, patience)
        .toBe(letter);
    }
    expect(mixed).toEqual([]);
  });

  test('and renamed into place takes the place of the old one, which keeps its inode', async () => {
    const { fs, at, disk } = await publish((home) => writeFileSync(join(home, 'x'), 'old'));
    const { ino } = fs.statSync('/pub/x');
    writeFileSync(join(disk, '..', 'new'), 'new content', { mode: 0o600 });
    renameSync(join(disk, '..', 'new'), at('x'));
    await text(fs, '/pub/x').toBe('new content');
    expect(fs.statSync('/pub/x').ino).toBe(ino);
    await expect.poll(() => fs.statSync('/pub/x').mode & 0o777, patience).toBe(0o600);
  });

  test('moves the live views of it to the new content', async () => {
    const { fs, at } = await publish((disk) => writeFileSync(join(disk, 'x'), 'a'.repeat(300_000)));
    const view = await fs.map('/pub/x', { follow: 'live', reserve: 2 ** 20 });
    const { address } = view;
    const change = changeOf(view);
    writeFileSync(at('x'), 'b'.repeat(400_000));
    const event = await change;
    expect(event).toMatchObject({ cause: 'replace', size: 400_000 });
    expect(Buffer.from(view.bytes).equals(Buffer.alloc(400_000, 'b'))).toBe(true);
    expect(view.address).toBe(address);
  });

  test('gets its new mode and its new time', async () => {
    const { fs, at } = await publish((disk) => writeFileSync(join(disk, 'x'), 'x'));
    await fs.promises.readFile('/pub/x');
    chmodSync(at('x'), 0o604);
    await expect.poll(() => fs.statSync('/pub/x').mode & 0o777, patience).toBe(0o604);
    const time = new Date('2020-01-01T00:00:00.123Z');
    utimesSync(at('x'), time, time);
    await expect.poll(() => fs.statSync('/pub/x').mtime, patience).toEqual(time);
  });
});

describe('names', () => {
  test('that come, change and go on the disk do so in the cluster', async () => {
    const { fs, at } = await publish((disk) => {
      mkdirSync(join(disk, 'sub'));
      writeFileSync(join(disk, 'sub/gone'), '');
      writeFileSync(join(disk, 'kept'), '');
    });
    unlinkSync(at('sub/gone'));
    await names(fs, '/pub/sub').toEqual([]);
    writeFileSync(at('sub/come'), 'here');
    await text(fs, '/pub/sub/come').toBe('here');
    renameSync(at('sub'), at('moved'));
    await names(fs, '/pub').toEqual(['kept', 'moved']);
    await text(fs, '/pub/moved/come').toBe('here');
    rmSync(at('moved'), { recursive: true });
    await names(fs, '/pub').toEqual(['kept']);
  });

  test('in directories made all at once are all there', async () => {
    const { fs, at } = await publish();
    for (let i = 0; i < 20; i++) {
      mkdirSync(at(`${i}/a/b`), { recursive: true });
      for (const path of [`${i}/x`, `${i}/a/x`, `${i}/a/b/x`]) writeFileSync(at(path), path);
    }
    for (let i = 0; i < 20; i++) {
      for (const path of [`${i}/x`, `${i}/a/x`, `${i}/a/b/x`]) await text(fs, `/pub/${path}`).toBe(path);
    }
  });

  test('may change what they stand for', async () => {
    const { fs, at } = await publish((disk) => {
      writeFileSync(join(disk, 'x'), 'file');
      mkdirSync(join(disk, 'y/z'), { recursive: true });
    });
    unlinkSync(at('x'));
    mkdirSync(at('x'));
    writeFileSync(at('x/inside'), 'inside');
    rmSync(at('y'), { recursive: true });
    writeFileSync(at('y'), 'file now');
    await text(fs, '/pub/x/inside').toBe('inside');
    writeFileSync(at('x/later'), 'later');
    await text(fs, '/pub/x/later').toBe('later');
    await expect.poll(() => fs.statSync('/pub/y').isFile() && read(fs, '/pub/y'), patience).toBe('file now');
  });

  test('in a directory that takes the place of another follow it', async () => {
    const { fs, at, disk } = await publish((home) => {
      mkdirSync(join(home, 'set'));
      for (const name of ['x', 'old']) writeFileSync(join(home, 'set', name), 'old');
    });
    mkdirSync(`${disk}.next`);
    for (const name of ['x', 'new']) writeFileSync(join(`${disk}.next`, name), 'new');
    renameSync(at('set'), `${disk}.old`);
    renameSync(`${disk}.next`, at('set'));
    await names(fs, '/pub/set').toEqual(['new', 'x']);
    await text(fs, '/pub/set/x').toBe('new');
    writeFileSync(at('set/x'), 'newer');
    await text(fs, '/pub/set/x').toBe('newer');
  });

  test('come back with a directory that takes the place of the published one', async () => {
    const { node, fs, disk, at } = await publish((home) => {
      writeFileSync(join(home, 'x'), 'old');
      writeFileSync(join(home, 'only-old'), '');
    });
    renameSync(disk, `${disk}.old`);
    await expect
      .poll(() => node.stderr(), patience)
      .toMatch(/^clusterfs: publish: ENOENT: .*what was published stays/);
    expect(fs.readdirSync('/pub').sort()).toEqual(['only-old', 'x']);
    mkdirSync(disk);
    writeFileSync(at('x'), 'new');
    await names(fs, '/pub').toEqual(['x']);
    await text(fs, '/pub/x').toBe('new');
    writeFileSync(at('more'), 'more');
    await text(fs, '/pub/more').toBe('more');
  });
});

describe('symlinks', () => {
  test('may be what is published, and lead elsewhere later', async () => {
    const home = makeHome();
    for (const version of ['v1', 'v2']) {
      mkdirSync(join(home, version));
      writeFileSync(join(home, version, 'x'), version);
    }
    writeFileSync(join(home, 'v1/only'), '');
    symlinkSync('v1', join(home, 'current'));
    const { fs } = await publish(undefined, ['--publish', `${join(home, 'current')}:/app`]);
    expect(fs.readdirSync('/app')).toEqual(['only', 'x']);
    symlinkSync('v2', join(home, 'next'));
    renameSync(join(home, 'next'), join(home, 'current'));
    await text(fs, '/app/x').toBe('v2');
    await names(fs, '/app').toEqual(['x']);
    writeFileSync(join(home, 'v2/x'), 'v2 still followed');
    await text(fs, '/app/x').toBe('v2 still followed');
  });

  test('that stay inside are made, and replaced in one step', async () => {
    const { fs, disk, at } = await publish((home) => {
      mkdirSync(join(home, 'v1'));
      mkdirSync(join(home, 'v2'));
      writeFileSync(join(home, 'v1/x'), 'one');
      writeFileSync(join(home, 'v2/x'), 'two');
      symlinkSync('v1', join(home, 'current'));
      symlinkSync(join(home, 'v2/x'), join(home, 'v1/absolute'));
    });
    expect(fs.readlinkSync('/pub/current')).toBe('v1');
    expect(fs.readlinkSync('/pub/v1/absolute')).toBe('../v2/x');
    expect(read(fs, '/pub/v1/absolute')).toBe('two');
    symlinkSync('v2', join(disk, 'next'));
    renameSync(at('next'), at('current'));
    await text(fs, '/pub/current/x').toBe('two');
    await names(fs, '/pub').toEqual(['current', 'v1', 'v2']);
  });

  test('that lead out, and what is no file, are reported and left out', async () => {
    const { node, fs, at } = await publish((disk) => {
      symlinkSync('/etc/hostname', join(disk, 'out'));
      execFileSync('mkfifo', [join(disk, 'pipe')]);
      writeFileSync(join(disk, 'file'), 'file');
    });
    expect(fs.readdirSync('/pub')).toEqual(['file']);
    expect(node.stderr().split('\n').sort()).toEqual([
      '',
      expect.stringMatching(/^clusterfs: publish: ENOTSUP: .*out' \(the link leads out/),
      expect.stringMatching(/^clusterfs: publish: ENOTSUP: .*pipe' \(neither file/),
    ]);
    unlinkSync(at('out'));
    writeFileSync(at('out'), 'a file now');
    await text(fs, '/pub/out').toBe('a file now');
  });
});

describe('what does not fit', () => {
  test('is reported, the old content stays, and it comes when there is room', async () => {
    const { node, fs, at } = await publish((disk) => writeFileSync(join(disk, 'x'), 'small'));
    await fs.promises.writeFile('/filler', randomBytes(50 * 2 ** 20));
    const events = node.start('events', '/pub', '--json');
    await expect.poll(() => touched(fs, events), patience).toBe(true);
    writeFileSync(at('x'), Buffer.alloc(30 * 2 ** 20, 'large'));
    await events.says(/"kind":"publish".*\n/);
    expect(events.stdout()).toMatch(/"path":"\/pub\/x","detail":\{"error":"ENOSPC"/);
    expect(node.stderr()).toMatch(
      /^clusterfs: publish: ENOSPC: no space left on device, write '\/pub\/x' \(.*\)\n$/,
    );
    expect(read(fs, '/pub/x')).toBe('small');
    await fs.promises.rm('/filler');
    await expect.poll(() => fs.statSync('/pub/x').size, patience).toBe(30 * 2 ** 20);
    await events.interrupt();
  });
});

describe('a file that a pinned client maps to write', () => {
  async function publishHeld(args: readonly string[]) {
    const published = await publish((disk) => writeFileSync(join(disk, 'x'), 'before'), args);
    const holder = await mount(published.node.url, { mode: 'pinned' });
    onTestFinished(() => holder.unmount());
    return { ...published, view: await holder.map('/pub/x', { mode: 'rw' }) };
  }

  test('is recalled, and gets its new content when it is let go', async () => {
    const { node, fs, view, at } = await publishHeld(['--recall-deadline', '60000']);
    view.on('recall', () => view.close());
    writeFileSync(at('x'), 'after');
    await text(fs, '/pub/x').toBe('after');
    expect(node.stderr()).toBe('');
  });

  test('is reported when it is not let go, and gets its new content later', async () => {
    const { node, fs, view, at } = await publishHeld([]);
    const events = node.start('events', '/pub', '--json');
    await expect.poll(() => touched(fs, events), patience).toBe(true);
    writeFileSync(at('x'), 'after');
    await events.says(/"kind":"publish".*\n/);
    expect(events.stdout()).toMatch(/"path":"\/pub\/x","detail":\{"error":"EBUSY"/);
    const holder = `held by .* \\(pid ${process.pid}\\), .*`;
    const said = new RegExp(`^clusterfs: publish: EBUSY: .* '/pub/x' \\(${holder}\\)\n$`);
    await expect.poll(() => node.stderr(), patience).toMatch(said);
    expect(read(fs, '/pub/x')).toBe('before');
    expect(Buffer.from(view.bytes).toString()).toBe('before');
    view.close();
    await text(fs, '/pub/x').toBe('after');
    await events.interrupt();
  });

  test('does not keep the node from being stopped', async () => {
    const { node, view, at } = await publishHeld(['--recall-deadline', '600000']);
    const recalled = new Promise((resolve) => view.once('recall', resolve));
    // A second listener: the first is gone when it is called.
    view.on('recall', () => undefined);
    writeFileSync(at('x'), 'after');
    await recalled;
    expect((await node.stop()).code).toBe(0);
  });
});

describe('what clients change below', () => {
  test('stays until the disk changes there; what only they have made stays', async () => {
    const { fs, at } = await publish((disk) => {
      writeFileSync(join(disk, 'x'), 'disk');
      writeFileSync(join(disk, 'y'), 'disk');
    });
    await fs.promises.writeFile('/pub/x', 'client');
    await fs.promises.writeFile('/pub/mine', 'client');
    writeFileSync(at('y'), 'disk again');
    await text(fs, '/pub/y').toBe('disk again');
    expect(read(fs, '/pub/x')).toBe('client');
    writeFileSync(at('x'), 'disk again');
    await text(fs, '/pub/x').toBe('disk again');
    expect(read(fs, '/pub/mine')).toBe('client');
  });
});

test.each([
  ['after a crash', 'SIGKILL', false],
  ['after a crash, with a store', 'SIGKILL', true],
  ['after a stop, with a store', 'SIGINT', true],
] as const)(
  'a node that goes on %s brings what changed meanwhile, and only that',
  async (_, signal, isStored) => {
    const more = isStored ? ['--store', join(makeHome(), 'store')] : [];
    const { node, fs, disk, at } = await publish((home) => {
      for (const name of ['same', 'changed', 'removed']) writeFileSync(join(home, name), name);
    }, more);
    await fs.promises.writeFile('/pub/mine', 'client');
    const { ctimeMs } = fs.statSync('/pub/same');
    node.process.kill(signal);
    await node.ended;
    writeFileSync(at('changed'), 'otherwise');
    unlinkSync(at('removed'));
    const args = ['--listen', node.url, '--memory', '64MiB', '--publish', `${disk}:/pub`, ...more];
    const next = start(['serve', ...args]);
    await next.says(/ready on/);
    const again = await mount(node.url);
    expect(again.readdirSync('/pub').sort()).toEqual(['changed', 'mine', 'same']);
    expect(read(again, '/pub/changed')).toBe('otherwise');
    expect(again.statSync('/pub/same').ctimeMs).toBe(ctimeMs);
    writeFileSync(at('same'), 'followed');
    await text(again, '/pub/same').toBe('followed');
    await again.unmount();
    await fs.unmount();
    expect(await next.interrupt()).toMatchObject({ code: 0, stderr: '' });
    expect((await run(['ls', '--url', node.url])).code).toBe(3);
    if (isStored) expect(await run(['fsck', ...more])).toMatchObject({ code: 0, stderr: '' });
  },
);

const changeOf = (view: View): Promise<ViewEvent> => new Promise((resolve) => view.once('change', resolve));

/** Whether the events of /pub are being told; each call makes one. */
async function touched(fs: ClusterFs, events: { stdout(): string }): Promise<boolean> {
  await fs.promises.writeFile('/pub/touched', '');
  return events.stdout().includes('touched');
}

/** One after the other, `ms` apart. */
async function* paced<T>(items: readonly T[], ms: number): AsyncGenerator<T> {
  let next = performance.now();
  for (const item of items) {
    yield item;
    next += ms;
    while (performance.now() < next) await turn();
  }
}
