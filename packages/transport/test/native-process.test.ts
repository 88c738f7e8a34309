import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import * as native from '../src/native.ts';
import { inProcess } from './native-elsewhere.ts';

const length = 8192;
let fd: number;
let path: string;

beforeAll(() => {
  const directory = mkdtempSync('/dev/shm/clusterfs-process-');
  path = join(directory, 'file');
  fd = openSync(path, 'w+');
  ftruncateSync(fd, length);
  return () => {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  };
});

test('a process may touch a file that it has open, or mapped, and no other', async () => {
  const other = inProcess(
    async ({ native: n, require, tell, told }, { file, bytes }) => {
      const fs = require('node:fs') as typeof import('node:fs');
      tell('nothing');
      await told();
      const opened = fs.openSync(file, 'r');
      tell('open');
      await told();
      const address = n.mapFile({ fd: opened, offset: 4096, length: 4096, protection: 'read' });
      fs.closeSync(opened);
      tell('mapped');
      await told();
      n.unmap(address, bytes - 4096);
      tell('nothing');
      await told();
    },
    { file: path, bytes: length },
  );
  const step = async () => {
    const said = await other.heard();
    const may = native.mayTouchFile(other.pid, fd);
    other.say('go on');
    return [said, may];
  };
  expect(await step()).toEqual(['nothing', false]);
  expect(await step()).toEqual(['open', true]);
  expect(await step()).toEqual(['mapped', true]);
  expect(await step()).toEqual(['nothing', false]);
  await other.ended;
  // Who ended is not asked for: that is told by its start time.
  expect(native.mayTouchFile(other.pid, fd)).toBe(true);
  expect(native.processStartTime(other.pid)).toBe(undefined);
});

test('a file whose name is that of another is told from it', () => {
  const other = openSync(`${path}-other`, 'w+');
  onTestFinished(() => closeSync(other));
  const idle = inProcess(({ told }) => told(), {});
  expect(native.mayTouchFile(process.pid, other)).toBe(true);
  expect(native.mayTouchFile(idle.pid, other)).toBe(false);
});

test('a process that cannot be looked at may touch anything', () => {
  // Kernel threads have no memory of their own, and show no mapping.
  const kernelThread = 2;
  expect(readFileSync(`/proc/${kernelThread}/maps`, 'utf8')).toBe('');
  expect(native.mayTouchFile(kernelThread, fd)).toBe(true);
});
