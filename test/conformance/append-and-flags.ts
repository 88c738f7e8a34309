/** appendFile, and what each open flag allows, creates, cuts and refuses (open(2)). */
import { constants } from 'node:fs';
import { describe, expect } from 'vitest';
import { expectBytes, pattern, refused, stories, type Tester } from './tester.ts';

export function appendAndFlags(tester: Tester): void {
  describe('append and flags', () => {
    appending(tester);
    appendHandles(tester);
    exclusive(tester);
    existing(tester);
    accessModes(tester);
  });
}

function appending(tester: Tester): void {
  const it = stories(tester);

  it('creates the file, then adds to its end', async (dir) => {
    await tester.fs.appendFile(`${dir}/f`, 'one');
    await tester.fs.appendFile(`${dir}/f`, Buffer.from(',two'));
    await tester.fs.appendFile(`${dir}/f`, '2c74', 'hex');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('one,two,t');
  });

  it('appends nothing and still creates', async (dir) => {
    await tester.fs.appendFile(`${dir}/f`, '');
    expect((await tester.fs.stat(`${dir}/f`)).size).toBe(0);
  });

  it('gives a created file the asked mode and leaves that of an old one', async (dir) => {
    await tester.fs.appendFile(`${dir}/f`, 'a', { mode: 0o600 });
    await tester.fs.appendFile(`${dir}/f`, 'b', { mode: 0o644 });
    expect((await tester.fs.stat(`${dir}/f`)).mode & 0o777).toBe(0o600);
  });

  it('joins pieces of odd sizes without a gap', async (dir) => {
    const expected = [];
    for (let i = 1; i <= 60; i++) {
      await tester.fs.appendFile(`${dir}/f`, pattern(i * 37, i));
      expected.push(pattern(i * 37, i));
    }
    expectBytes(await tester.fs.readFile(`${dir}/f`), Buffer.concat(expected));
  });

  it('refuses a directory, and a path without its directory', async (dir) => {
    await refused(tester.fs.appendFile(dir, 'x'), 'EISDIR');
    await refused(tester.fs.appendFile(`${dir}/none/f`, 'x'), 'ENOENT');
  });

  it('appends by the flag of writeFile too', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'one');
    await tester.fs.writeFile(`${dir}/f`, ',two', { flag: 'a' });
    await tester.fs.writeFile(`${dir}/new`, 'three', { flag: 'a' });
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('one,two');
    expect(await tester.fs.readFile(`${dir}/new`, 'utf8')).toBe('three');
  });
}

function appendHandles(tester: Tester): void {
  const it = stories(tester);

  it('writes at the end whatever the position, as Linux does', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'start');
    await using handle = await tester.fs.open(`${dir}/f`, 'a');
    await handle.write('-end', 0);
    await handle.write(Buffer.from('!'), 0, 1, 2);
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('start-end!');
  });

  it('finds the new end after another handle wrote or cut', async (dir) => {
    await using one = await tester.fs.open(`${dir}/f`, 'a');
    await using two = await tester.fs.open(`${dir}/f`, 'a');
    await one.write('1');
    await two.write('22');
    await one.write('333');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('122333');
    await tester.fs.truncate(`${dir}/f`, 1);
    await two.write('4');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('14');
  });

  it('a+ reads from the start and writes at the end', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'abc');
    await using handle = await tester.fs.open(`${dir}/f`, 'a+');
    const first = await handle.read(Buffer.alloc(2), 0, 2);
    expect(first.buffer.toString()).toBe('ab');
    await handle.write('d');
    expect((await handle.read(Buffer.alloc(8), 0, 8)).bytesRead).toBe(0);
    expect((await handle.read(Buffer.alloc(8), 0, 8, 0)).bytesRead).toBe(4);
  });

  it('appends by handle.appendFile from where the handle stands', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'abc');
    await using handle = await tester.fs.open(`${dir}/f`, 'a');
    await handle.appendFile('d');
    await tester.fs.appendFile(handle, 'e');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('abcde');
  });
}

function exclusive(tester: Tester): void {
  const it = stories(tester);

  it('wx and ax create, once', async (dir) => {
    for (const flag of ['wx', 'ax', 'wx+', 'ax+', 'xw', 'xa']) {
      await tester.fs.writeFile(`${dir}/${flag}`, 'first', { flag });
      await refused(tester.fs.writeFile(`${dir}/${flag}`, 'second', { flag }), 'EEXIST');
      expect(await tester.fs.readFile(`${dir}/${flag}`, 'utf8')).toBe('first');
    }
  });

  it('wx refuses a directory and a link, even one that leads nowhere', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.symlink('nowhere', `${dir}/l`);
    await refused(tester.fs.open(`${dir}/d`, 'wx'), 'EEXIST');
    await refused(tester.fs.open(`${dir}/l`, 'wx'), 'EEXIST');
    await refused(tester.fs.stat(`${dir}/nowhere`), 'ENOENT');
  });

  it('takes the flags as numbers', async (dir) => {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
    await (await tester.fs.open(`${dir}/f`, flags)).close();
    await refused(tester.fs.open(`${dir}/f`, flags), 'EEXIST');
  });
}

function existing(tester: Tester): void {
  const it = stories(tester);

  it('r and r+ never create', async (dir) => {
    for (const flag of ['r', 'r+', 'rs', 'rs+', 'sr+'])
      await refused(tester.fs.open(`${dir}/f`, flag), 'ENOENT');
    expect(await tester.fs.readdir(dir)).toEqual([]);
  });

  it('r+ overwrites the start and keeps the rest', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    await tester.fs.writeFile(`${dir}/f`, 'abc', { flag: 'r+' });
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('abc3456789');
  });

  it('w and w+ cut the file when it is opened, not when it is written', async (dir) => {
    for (const flag of ['w', 'w+']) {
      await tester.fs.writeFile(`${dir}/f`, 'content');
      await using _handle = await tester.fs.open(`${dir}/f`, flag);
      expect((await tester.fs.stat(`${dir}/f`)).size).toBe(0);
    }
  });

  it('O_CREAT alone keeps content and mode', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'content', { mode: 0o640 });
    await using _handle = await tester.fs.open(`${dir}/f`, constants.O_RDWR | constants.O_CREAT, 0o600);
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('content');
    expect((await tester.fs.stat(`${dir}/f`)).mode & 0o777).toBe(0o640);
  });

  it('O_TRUNC cuts', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'content');
    await (await tester.fs.open(`${dir}/f`, constants.O_RDWR | constants.O_TRUNC)).close();
    expect((await tester.fs.stat(`${dir}/f`)).size).toBe(0);
  });

  it('O_DIRECTORY opens directories only', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    const flags = constants.O_RDONLY | constants.O_DIRECTORY;
    await refused(tester.fs.open(`${dir}/f`, flags), 'ENOTDIR');
    await using handle = await tester.fs.open(dir, flags);
    expect((await handle.stat()).isDirectory()).toBe(true);
  });

  it('O_NOFOLLOW refuses a link in the last place only', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}/d/f`, 'x');
    await tester.fs.symlink('d', `${dir}/to-d`);
    await tester.fs.symlink('d/f', `${dir}/to-f`);
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
    await refused(tester.fs.open(`${dir}/to-f`, flags), 'ELOOP');
    await using handle = await tester.fs.open(`${dir}/to-d/f`, flags);
    expect(await handle.readFile('utf8')).toBe('x');
  });
}

function accessModes(tester: Tester): void {
  const it = stories(tester);

  it('a handle for reading does not write', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'abc');
    await using handle = await tester.fs.open(`${dir}/f`, 'r');
    await refused(handle.write('x'), 'EBADF');
    await refused(handle.truncate(0), 'EINVAL');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('abc');
  });

  it('a handle for writing does not read', async (dir) => {
    for (const flag of ['w', 'a', 'wx']) {
      await tester.fs.rm(`${dir}/f`, { force: true });
      await using handle = await tester.fs.open(`${dir}/f`, flag);
      await refused(handle.read(Buffer.alloc(1), 0, 1), 'EBADF');
      await refused(handle.readFile(), 'EBADF');
    }
  });

  it('a handle opened with a plus does both', async (dir) => {
    for (const flag of ['w+', 'a+', 'r+']) {
      await using handle = await tester.fs.open(`${dir}/f`, flag);
      await handle.write('xyz');
      expect((await handle.read(Buffer.alloc(3), 0, 3, 0)).bytesRead).toBe(3);
    }
  });

  it('opens a directory for reading, and its bytes cannot be read', async (dir) => {
    await using handle = await tester.fs.open(dir, 'r');
    expect((await handle.stat()).isDirectory()).toBe(true);
    await refused(handle.read(Buffer.alloc(1), 0, 1), 'EISDIR');
    await refused(tester.fs.open(dir, 'r+'), 'EISDIR');
    await refused(tester.fs.open(dir, 'w'), 'EISDIR');
  });

  it('a handle opened for writing still writes after its file became read-only', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    await tester.fs.chmod(`${dir}/f`, 0o400);
    await handle.write('still');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('still');
  });
}
