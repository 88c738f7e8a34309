/** A disk that a test can take the power from: what the kernel had not written yet is gone, too. */
import { execFileSync } from 'node:child_process';
import {
  constants,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { NodeProcess } from '../chaos/node-process.ts';

const run = (command: string, ...args: string[]): unknown =>
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });

/** Whether this machine lets us have a disk of our own: root, loop devices and ext4. */
export function hasDisks(): boolean {
  if (process.getuid?.() !== 0) return false;
  const home = mkdtempSync(join(tmpdir(), 'clusterfs-disk-'));
  try {
    format(join(home, 'image'));
    attach(join(home, 'image'), home);
    run('umount', home);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

export interface Disk {
  /** Where it is mounted. */
  readonly path: string;
  /** Ends the node, and takes from the disk and from memory what was not flushed. */
  cutPower(node: NodeProcess): Promise<void>;
}

/** ext4 in a file. The test's end removes it. */
export function makeDisk(): Disk {
  const home = mkdtempSync(join(tmpdir(), 'clusterfs-disk-'));
  const [path, image, flushed] = ['mounted', 'image', 'flushed'].map((name) => join(home, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(path);
  format(image);
  attach(image, path);
  onTestFinished(() => {
    run('umount', '--lazy', path);
    rmSync(home, { recursive: true, force: true });
  });
  return {
    path,
    async cutPower(node) {
      await node.kill();
      // The image has what the file system wrote to its disk; unmounting writes the rest to what is thrown away.
      copyFileSync(image, flushed, constants.COPYFILE_FICLONE);
      run('umount', path);
      copyFileSync(flushed, image);
      attach(image, path);
      rmSync(node.runDirectory, { recursive: true });
    },
  };
}

function format(image: string): void {
  writeFileSync(image, '');
  truncateSync(image, 48 * 2 ** 20);
  run('mkfs.ext4', '-q', '-F', image);
}

/** The kernel writes by itself only after minutes: the test says when. */
const attach = (image: string, path: string): unknown => run('mount', '-o', 'loop,commit=300', image, path);
