/**
 * Which paths of the cluster were published, kept where the files are: in the store, or else beside the
 * segment, and as long as that.
 *
 * Without it, a node that is started again could not tell a file that was published and has gone from
 * the disk meanwhile from one that a client has made.
 *
 * The file is a log, a line of JSON for each change: `["+", path]` or `["-", path]`. Appended by one write(2)
 * each, so what was noted survives the death of the process; a last line that was cut is ignored. An append
 * that fails half-way is cut off again, so that no line follows half a line.
 */
import { appendFileSync, readFileSync, renameSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { FsError } from '@cluster-fs/transport';
import { isGone } from './disk-entry.ts';

export class Ledger {
  readonly #file: string;
  readonly #paths: Set<string>;
  #syncing: Promise<unknown> = Promise.resolve();
  /** The one that has not begun. */
  #next: Promise<void> | undefined;

  /** Goes on with what is there. */
  constructor(file: string) {
    this.#file = file;
    this.#paths = readLog(file);
    // Short again: the log grows with every change, a node may run for long.
    writeFileSync(`${file}.new`, [...this.#paths].map((path) => line('+', path)).join(''), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }

  /** Published paths at `root` and below. */
  below(root: string): string[] {
    const prefix = root === '/' ? '/' : `${root}/`;
    return [...this.#paths].filter((path) => path === root || path.startsWith(prefix));
  }

  /**
   * Returns whether it was not there. Requires: called before the path is made, so that nothing of ours is
   * ever unknown.
   */
  add(path: string): boolean {
    if (this.#paths.has(path)) return false;
    this.#append(line('+', path));
    this.#paths.add(path);
    return true;
  }

  delete(path: string): void {
    if (!this.#paths.has(path)) return;
    this.#append(line('-', path));
    this.#paths.delete(path);
  }

  /** Resolves when what was noted so far survives a loss of power. Those asked for at once are one. */
  sync(): Promise<void> {
    this.#next ??= this.#syncing.then(() => {
      this.#next = undefined;
      const syncing = dataSync(this.#file);
      this.#syncing = syncing.catch(() => undefined);
      return syncing;
    });
    return this.#next;
  }

  #append(text: string): void {
    const { size } = statSync(this.#file);
    try {
      appendFileSync(this.#file, text);
    } catch (error) {
      truncateSync(this.#file, size);
      throw error;
    }
  }
}

async function dataSync(path: string): Promise<void> {
  const file = await open(path);
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

const line = (sign: '+' | '-', path: string): string => `${JSON.stringify([sign, path])}\n`;

function readLog(file: string): Set<string> {
  const paths = new Set<string>();
  for (const text of readIfThere(file).split('\n').slice(0, -1)) {
    const [sign, path] = parse(text, file);
    if (sign === '+') paths.add(path);
    else paths.delete(path);
  }
  return paths;
}

function parse(text: string, file: string): ['+' | '-', string] {
  try {
    return JSON.parse(text) as ['+' | '-', string];
  } catch (cause) {
    throw new FsError('EIO', 'read', { path: file, why: 'the list of published paths is damaged', cause });
  }
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (isGone(error)) return '';
    throw error;
  }
}
