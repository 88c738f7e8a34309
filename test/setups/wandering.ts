/** Files that are moved from node to node all the time, whatever is done with them. */
import { setImmediate as turn } from 'node:timers/promises';
import { type ClusterFs, FsError } from 'cluster-fs';

/** What may become of a file, or of who uses it, before it is moved. */
const harmless: ReadonlySet<string> = new Set(['ENOENT', 'ESTALE', 'EBUSY', 'EALREADY', 'ENOTDIR', 'ELOOP']);

export interface Wandering {
  /** How many moves there were. */
  readonly moves: number;
  /** Rejects with what went wrong. */
  stop(): Promise<void>;
}

/** Moves every file there is to the next of `nodes`, again and again. */
export function wander(fs: ClusterFs, nodes: readonly string[]): Wandering {
  const end = new AbortController();
  let moves = 0;
  const moving = async (): Promise<void> => {
    for (let round = 0; !end.signal.aborted; round++) {
      const to = nodes[round % nodes.length] as string;
      for (const path of filesIn(fs)) {
        if (end.signal.aborted) return;
        if (await moved(fs, path, to)) moves++;
      }
      await turn();
    }
  };
  const ended = moving();
  ended.catch(() => undefined);
  return {
    get moves() {
      return moves;
    },
    async stop() {
      end.abort();
      await ended;
    },
  };
}

function filesIn(fs: ClusterFs): string[] {
  try {
    const all = fs.readdirSync('/', { recursive: true, withFileTypes: true });
    return all.filter((entry) => entry.isFile()).map(({ parentPath, name }) => `${parentPath}/${name}`);
  } catch (error) {
    if (isHarmless(error)) return [];
    throw error;
  }
}

async function moved(fs: ClusterFs, path: string, to: string): Promise<boolean> {
  try {
    return (await fs.migrate(path, to)).bytes > 0;
  } catch (error) {
    if (isHarmless(error)) return false;
    throw error;
  }
}

const isHarmless = (error: unknown): boolean => error instanceof FsError && harmless.has(error.code);
