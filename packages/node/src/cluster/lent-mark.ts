/**
 * What a home says to the node that comes after it: leases may last that it has given. With a store that is
 * on the disk, since a node that lost its memory may start again before they are over.
 */
import { randomInt } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Coordinator } from '../coordinator/coordinator.ts';

export class LentMark {
  readonly #file: string;
  readonly #isOnDisk: boolean;
  #isSet = false;
  /** Names what the node has in memory: another name when what was not synced is gone. */
  readonly memory: string;

  constructor({ writeBack, data, store, segment }: Coordinator) {
    this.memory = store.superblock('runId') ?? segment.id;
    this.#isOnDisk = writeBack !== undefined;
    this.#file = `${writeBack === undefined ? data.directory : dirname(writeBack.report.path)}/lent`;
  }

  /**
   * Numbers of sessions in this life of the node: as good as certainly none of before has had one, also when
   * nothing is left of it here.
   */
  readonly firstSession = randomInt(2 ** 32) * 2 ** 20 + 1;

  /** Whether a node of before has set it. */
  get wasSet(): boolean {
    return !this.#isSet && existsSync(this.#file);
  }

  /** Requires: before anybody gets anything. */
  set(): void {
    if (this.#isSet) return;
    writeFileSync(this.#file, '');
    if (this.#isOnDisk) flush(dirname(this.#file));
    this.#isSet = true;
  }

  /** Nobody has anything any more. */
  forget(): void {
    rmSync(this.#file, { force: true });
  }
}

function flush(directory: string): void {
  const fd = openSync(directory, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
