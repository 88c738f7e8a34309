/**
 * Which node should keep which file, as the coordinator sees it: files of a node that is to be emptied go
 * where there is room; others go to who uses them, and from full nodes to empty ones.
 */
import { FsError, type PlannedMove, type Reply, type Request } from '@cluster-fs/transport';
import { mostFailures, type PeerReply, type PeerUse } from '@cluster-fs/transport/peer';
import {
  InodeCopy,
  isDirectory,
  isFile,
  listDirectory,
  modeOf,
  pageSize,
  readInode,
  rootIno,
} from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { MoveOptions } from '../coordinator/move.ts';
import { coordinatorNumber, type Homes } from './homes.ts';
import type { Migration } from './migration.ts';
import { orAborted } from './or-aborted.ts';
import type { Room, Roster } from './roster.ts';

/** Who asked for fewer blocks of a file than this has just looked at it. */
const fewBlocks = 16;
/** The part of all uses that makes a node the one that uses a file. */
const mostUses = 2 / 3;
/** Nodes that differ by less of what they can keep are even. */
const evenShare = 0.1;
const maxTold = 1000;
/** How often a file is to leave a node that is emptied: somebody else may be moving it, or changing it. */
const mostTries = 3;

export interface PlacementParts {
  readonly c: Coordinator;
  readonly homes: Homes;
  readonly roster: Roster;
  readonly migration: Migration;
  /** Of the coordinator. */
  readonly room: Room;
  readonly name: string;
  /** Which nodes use the files that the coordinator keeps. */
  readonly uses: () => PeerUse[];
}

interface File {
  readonly ino: number;
  readonly generation: number;
  readonly path: string;
  readonly bytes: number;
  readonly home: number;
}

interface Node extends Room {
  readonly number: number;
  readonly name: string;
  kept: number;
}

interface Move {
  readonly file: File;
  readonly to: Node;
  readonly why: PlannedMove['why'];
}

/** Undefined: the file need not move any more. */
type Plan = () => Promise<Move | undefined>;

interface Failed {
  readonly path: string;
  readonly why: string;
}

export class Placement {
  readonly #parts: PlacementParts;

  constructor(parts: PlacementParts) {
    this.#parts = parts;
  }

  /** Moves the files of a node to others. What does not fit stays, and is told. */
  async drain({ node }: Request<'drain'>, options: MoveOptions): Promise<Reply<'drain'>> {
    const { migration } = this.#parts;
    return this.empty(migration.numberOf(node, 'drain'), options);
  }

  async empty(number: number, options: MoveOptions = {}): Promise<Reply<'drain'>> {
    const { migration } = this.#parts;
    const tries = new Map<number, number>();
    let failed: Failed[] = [];
    let [files, bytes] = [0, 0];
    // What comes to the node meanwhile leaves it too, and what could not for a moment.
    for (;;) {
      const here = this.#files().filter(
        ({ ino, home }) => home === number && (tries.get(ino) ?? 0) < mostTries,
      );
      if (here.length === 0) {
        if (await orAborted(migration.endedTo(number), options.signal)) continue;
        return { files, bytes, failed: failed.slice(0, maxTold) };
      }
      here.sort((a, b) => b.bytes - a.bytes);
      for (const { ino } of here) tries.set(ino, (tries.get(ino) ?? 0) + 1);
      const result = await this.#carryOut(this.#movesFrom(number, here, options), here, options);
      files += result.done.length;
      bytes += result.done.reduce((sum, { file }) => sum + file.bytes, 0);
      const isHere = new Set(here.map(({ path }) => path));
      failed = [...failed.filter(({ path }) => !isHere.has(path)), ...result.failed];
    }
  }

  /** For the node itself, which stops. Nobody goes on with that when it is gone, or was started again. */
  async emptyStopping(number: number, signal: AbortSignal): Promise<PeerReply<'empty'>> {
    const { files, failed } = await this.empty(number, { signal });
    return { moved: files, failed: failed.slice(0, mostFailures) };
  }

  #movesFrom(number: number, files: readonly File[], { signal }: MoveOptions): Plan[] {
    const nodes = this.#nodes().filter((each) => each.number !== number);
    const { migration, homes } = this.#parts;
    return files.map((file) => async () => {
      // Somebody else may be moving it, from here or to here.
      await orAborted(migration.ended(file.ino), signal);
      if (homes.homeOf(file.ino) !== number) return undefined;
      const to = roomiest(nodes, file.bytes);
      if (to === undefined)
        throw new FsError('ENOSPC', 'move', { path: file.path, why: 'no other node has room' });
      to.kept += file.bytes;
      return { file, to, why: 'space' as const };
    });
  }

  /** Moves files to where they are used, and from full nodes to empty ones. */
  async rebalance({ dryRun }: Request<'rebalance'>, options: MoveOptions): Promise<Reply<'rebalance'>> {
    const { plan, away } = await this.#plan();
    const moves = plan.slice(0, maxTold).map(({ file, to, why }) => {
      const from = this.#nameOf(file.home);
      return { path: file.path, from, to: to.name, bytes: file.bytes, why };
    });
    if (dryRun) return { moves, failed: [], away };
    const files = plan.map(({ file }) => file);
    const { failed } = await this.#carryOut(
      plan.map((move) => () => Promise.resolve(move)),
      files,
      options,
    );
    return { moves, failed, away };
  }

  async #carryOut(
    moves: readonly Plan[],
    files: readonly File[],
    { signal, onProgress }: MoveOptions,
  ): Promise<{ readonly done: Move[]; readonly failed: Failed[] }> {
    const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    const done: Move[] = [];
    const failed: Failed[] = [];
    let doneBytes = 0;
    for (const [i, plan] of moves.entries()) {
      signal?.throwIfAborted();
      const file = files[i] as File;
      try {
        const move = await plan();
        if (move !== undefined) {
          await this.#parts.migration.move(file, move.to.number, signal === undefined ? {} : { signal });
          done.push(move);
        }
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        signal?.throwIfAborted();
        if (failed.length < maxTold) failed.push({ path: file.path, why: error.message.slice(0, maxTold) });
      }
      doneBytes += file.bytes;
      onProgress?.(doneBytes, total);
    }
    return { done, failed };
  }

  /**
   * What should move: first to who uses it, then from the fullest node to the emptiest; and who keeps files
   * and cannot be reached.
   */
  async #plan(): Promise<{ plan: Move[]; away: string[] }> {
    const { uses, away } = await this.#uses();
    const nodes = this.#nodes().filter(({ number }) => !away.has(number));
    const files = this.#files().filter(({ home }) => !away.has(home));
    const byUse = movesByUse(files, nodes, uses);
    const used = new Set(byUse.map(({ file }) => file));
    const others = files.filter((file) => !used.has(file)).sort((a, b) => b.bytes - a.bytes);
    const { keptBytes } = this.#parts.homes;
    const missed = [...away].filter((number) => keptBytes.has(number)).slice(0, maxTold);
    return {
      plan: [...byUse, ...movesBySpace(others, nodes)],
      away: missed.map((number) => this.#nameOf(number)),
    };
  }

  /** What is known of uses, at all homes, and which of them cannot be reached. */
  async #uses(): Promise<{ uses: PeerUse[]; away: ReadonlySet<number> }> {
    const { homes, roster, uses } = this.#parts;
    const away = new Set<number>();
    const others = await Promise.all(
      roster.keepers.map(async ({ number, url }) => {
        try {
          if (url === undefined) throw new FsError('ENONET', 'uses');
          const link = await homes.neighbour(number).line.link();
          return (await link.request('uses', {})).reply.files;
        } catch (error) {
          if (!(error instanceof FsError)) throw error;
          away.add(number);
          return [];
        }
      }),
    );
    return { uses: [...uses(), ...others.flat()], away };
  }

  #nameOf(number: number): string {
    const { roster, name } = this.#parts;
    return number === coordinatorNumber ? name : (roster.of(number)?.name ?? `${number}`);
  }

  /** Those that can be reached, and may keep files: in a cluster with a store, each has one. */
  #nodes(): Node[] {
    const { c, homes, roster, room, name } = this.#parts;
    const kept = homes.keptBytes;
    const own = { number: coordinatorNumber, name, ...room };
    const keepers = roster.keepers.filter(
      ({ url, isStored }) => url !== undefined && (isStored || c.writeBack === undefined),
    );
    return [own, ...keepers].map(({ number, name: each, capacityBytes, memoryBytes }) => ({
      number,
      name: each,
      capacityBytes,
      memoryBytes,
      kept: kept.get(number) ?? 0,
    }));
  }

  #files(): File[] {
    const { segment } = this.#parts.c;
    const files: File[] = [];
    const inode = new InodeCopy();
    for (const [ino, path] of pathsIn(this.#parts.c)) {
      if (!readInode(segment, ino, inode) || !isFile(inode.mode)) continue;
      const { generation, pages, home } = inode;
      files.push({ ino, generation, path, bytes: pages * pageSize, home });
    }
    return files;
  }
}

const fits = (bytes: number, { capacityBytes, memoryBytes, kept }: Node): boolean =>
  bytes <= capacityBytes - kept && bytes <= memoryBytes;

/** The one with the most room, of those where the file fits. */
function roomiest(nodes: readonly Node[], bytes: number): Node | undefined {
  const free = ({ capacityBytes, kept }: Node): number => capacityBytes - kept;
  const [best] = nodes.filter((node) => fits(bytes, node)).sort((a, b) => free(b) - free(a));
  return best;
}

function movesByUse(files: readonly File[], nodes: readonly Node[], uses: readonly PeerUse[]): Move[] {
  const byFile = new Map<number, PeerUse[]>();
  for (const use of uses) byFile.set(use.ino, [...(byFile.get(use.ino) ?? []), use]);
  return files.flatMap((file) => {
    const of = (byFile.get(file.ino) ?? []).filter(({ generation }) => generation === file.generation);
    const all = of.reduce((sum, { blocks }) => sum + blocks, 0);
    const most = of.find(({ blocks }) => blocks >= fewBlocks && blocks >= all * mostUses);
    const to = nodes.find(({ number }) => number === most?.number);
    if (to === undefined || to.number === file.home || !fits(file.bytes, to)) return [];
    return [planned(nodes, { file, to, why: 'use' })];
  });
}

function movesBySpace(files: readonly File[], nodes: readonly Node[]): Move[] {
  const moves: Move[] = [];
  const left = new Set(files);
  for (;;) {
    const [emptiest, fullest] = extremes(nodes);
    if (emptiest === undefined || fullest === undefined) return moves;
    const gap = shareOf(fullest) - shareOf(emptiest);
    if (gap <= evenShare) return moves;
    // No more than makes them even.
    const bytes = (gap / 2) * Math.min(fullest.capacityBytes, emptiest.capacityBytes);
    const file = [...left].find(
      (each) =>
        each.home === fullest.number && each.bytes > 0 && each.bytes <= bytes && fits(each.bytes, emptiest),
    );
    if (file === undefined) return moves;
    left.delete(file);
    moves.push(planned(nodes, { file, to: emptiest, why: 'space' }));
  }
}

const shareOf = ({ kept, capacityBytes }: Node): number => kept / capacityBytes;

function extremes(nodes: readonly Node[]): [Node | undefined, Node | undefined] {
  const sorted = [...nodes].sort((a, b) => shareOf(a) - shareOf(b));
  return [sorted[0], sorted.at(-1)];
}

/** Counts the file where it will be. */
function planned(nodes: readonly Node[], move: Move): Move {
  const from = nodes.find(({ number }) => number === move.file.home);
  if (from !== undefined) from.kept -= move.file.bytes;
  move.to.kept += move.file.bytes;
  return move;
}

/** All files and directories, by one of their names. */
function pathsIn(c: Coordinator): Map<number, string> {
  const paths = new Map<number, string>([[rootIno, '']]);
  for (const [parent, path] of paths) {
    if (!isDirectory(modeOf(c.segment, parent))) continue;
    for (const { name, ino } of listDirectory(c.segment, parent))
      if (!paths.has(ino)) paths.set(ino, `${path}/${name}`);
  }
  return paths;
}
