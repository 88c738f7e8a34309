/** What processes have told of their files, and whether what is there after a kill agrees. */
import type { ClusterFs } from 'cluster-fs';
import { contentOf } from './storm-content.mjs';

/** One version of a file. */
export interface Change {
  readonly path: string;
  readonly version: number;
  readonly size: number;
  readonly how: 'put' | 'in place' | 'rename' | 'remove';
}

interface Known {
  /** In their order: from the last that is known to be there. */
  readonly changes: readonly Change[];
  readonly answered: number;
  readonly synced: number;
}

const unknown: Known = { changes: [], answered: 0, synced: 0 };

export class Manifest {
  readonly #files = new Map<string, Known>();

  paths(): string[] {
    return [...this.#files.keys()];
  }

  note(kind: 'begun' | 'answered' | 'synced', change: Change): void {
    const known = this.#files.get(change.path) ?? unknown;
    const { version } = change;
    if (kind === 'begun') this.#files.set(change.path, { ...known, changes: [...known.changes, change] });
    else if (kind === 'answered') this.#files.set(change.path, { ...known, answered: version });
    else this.#files.set(change.path, { ...known, synced: version });
  }

  /** The file is gone for certain. */
  forget(path: string): void {
    this.#files.delete(path);
  }

  /**
   * What is wrong; what is there is made durable, and is what must be there the next time. A write in place
   * that was never answered may be there in part, except after a loss of power: then the file is made anew.
   */
  async verify(fs: ClusterFs, since: 'answered' | 'synced'): Promise<string[]> {
    const findings: string[] = [];
    for (const [path, known] of this.#files) {
      const bytes = fs.existsSync(path) ? await fs.promises.readFile(path) : undefined;
      const may = known.changes.filter(({ version }) => version >= known[since]);
      const found = may.find((change) => isAt(bytes, change));
      const isOpen = may.some(({ how, version }) => how === 'in place' && version > known.answered);
      if (found !== undefined) this.#files.set(path, stands(found));
      else if (bytes === undefined && known[since] === 0) this.#files.delete(path);
      else if (since === 'answered' && isOpen) {
        await fs.promises.unlink(path);
        this.#files.delete(path);
      } else findings.push(`${path}: ${tell(bytes)}, ${since} ${known[since]}, may be ${list(may)}`);
    }
    await fs.sync();
    return findings;
  }
}

const stands = (change: Change): Known => {
  const { version } = change;
  return { changes: [change], answered: version, synced: version };
};

const isAt = (bytes: Buffer | undefined, { path, version, size, how }: Change): boolean =>
  how === 'remove'
    ? bytes === undefined
    : bytes?.length === size && bytes.equals(contentOf(path, { version, size }));

const tell = (bytes: Buffer | undefined): string =>
  bytes === undefined ? 'gone' : `${bytes.length} bytes from '${bytes.toString('latin1', 0, 20)}'`;

const list = (changes: readonly Change[]): string =>
  changes.map(({ version, size, how }) => `${how} ${version} (${size})`).join(', ');
