/**
 * Moving files between nodes, as the coordinator leads it:
 *
 *   1 take    the next home fetches the file, again and again, while everybody goes on; what is stored into
 *             meanwhile is taken back from it, and fetched again
 *   2 give    the home until now lets nobody change the file any more, and hands over what is missing
 *   3 commit  the inode names the new home, and every node knows it
 *
 * Before the commit nothing has happened: who dies, is cut off or interrupted leaves the file where it was.
 */
import { FsError, type Reply, type Request } from '@cluster-fs/transport';
import { InodeCopy, isFile, pageSize, readInode, walk } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { MoveOptions } from '../coordinator/move.ts';
import { assertMayChange } from '../coordinator/open.ts';
import type { Session } from '../coordinator/session.ts';
import { coordinatorNumber, type Homes } from './homes.ts';
import type { Moving } from './moving.ts';
import { beginStoring, endStoring } from './own-store.ts';
import type { Room, Roster } from './roster.ts';
import { assertTellable } from './rows.ts';

/** So little may be missing when the file stands still: a few milliseconds' worth. */
const fewBlocks = 32;
/** Rounds that bring no less to fetch: somebody stores faster than it is fetched. */
const vainRounds = 8;

export interface MigrationParts {
  readonly c: Coordinator;
  readonly homes: Homes;
  readonly roster: Roster;
  readonly moving: Moving;
  /** What the coordinator itself is called, and how much it can keep. */
  readonly name: string;
  readonly room: Room;
}

interface File {
  readonly ino: number;
  readonly generation: number;
}

export class Migration {
  readonly #parts: MigrationParts;
  readonly #files = new Set<number>();
  #isCommitting = false;

  constructor(parts: MigrationParts) {
    this.#parts = parts;
  }

  /** Whether what is being committed just now says that a file has another home. */
  get isCommitting(): boolean {
    return this.#isCommitting;
  }

  /** Whether a file is being moved. */
  isMoving(ino: number): boolean {
    return this.#files.has(ino);
  }

  /** The number of the node of that name. */
  numberOf(name: string, syscall: string): number {
    const { roster, name: own } = this.#parts;
    return name === own ? coordinatorNumber : roster.find(name, syscall).number;
  }

  async migrate(
    session: Session,
    { path, to }: Request<'migrate'>,
    options: MoveOptions,
  ): Promise<Reply<'migrate'>> {
    const { c } = this.#parts;
    assertMayChange(session, 'move', path);
    const { credentials } = session;
    const { ino } = walk(c.segment, path, { follow: true, syscall: 'move', credentials });
    if (ino === 0) throw new FsError('ENOENT', 'move', { path });
    const { mode, uid, generation } = c.inode(ino);
    if (!isFile(mode)) throw new FsError('EINVAL', 'move', { path, why: 'not a regular file' });
    if (credentials.uid !== 0 && credentials.uid !== uid) throw new FsError('EPERM', 'move', { path });
    try {
      return await this.move({ ino, generation }, this.numberOf(to, 'move'), options);
    } catch (error) {
      if (!(error instanceof FsError) || error.path !== undefined) throw error;
      throw new FsError(error.code, 'move', { path, why: error.why, cause: error });
    }
  }

  /** Gives a file another home. It stays meanwhile, also when it loses its last name. */
  move(file: File, to: number, options: MoveOptions): Promise<Reply<'migrate'>> {
    return this.#parts.c.keeping(file.ino, () => this.#move(file, to, options));
  }

  async #move({ ino, generation }: File, to: number, options: MoveOptions): Promise<Reply<'migrate'>> {
    const { c, homes } = this.#parts;
    const started = performance.now();
    const from = homes.homeOf(ino);
    const { pages, generation: now } = c.inode(ino);
    if (now !== generation) throw new FsError('ESTALE', 'move', { why: `inode ${ino} is gone` });
    const bytes = pages * pageSize;
    if (from === to) return { bytes: 0, elapsedMs: 0, pausedMs: 0 };
    this.#assertCanBeTold(ino, to);
    this.#assertRoom(to, bytes);
    if (this.#files.has(ino)) throw new FsError('EALREADY', 'move', { why: 'it is being moved' });
    this.#files.add(ino);
    try {
      await this.#fetch({ ino, generation }, { from, to }, options);
      options.signal?.throwIfAborted();
      const paused = performance.now();
      await this.#give({ ino, generation }, { from, to });
      await this.#commit({ ino, generation }, { from, to });
      await homes.openings.done;
      if (to === coordinatorNumber) this.#parts.moving.areOpen(ino);
      const ended = performance.now();
      return { bytes, elapsedMs: ended - started, pausedMs: ended - paused };
    } catch (error) {
      this.#giveUp({ ino, generation }, [from, to]);
      throw error;
    } finally {
      this.#files.delete(ino);
    }
  }

  #assertCanBeTold(ino: number, home: number): void {
    if (home !== coordinatorNumber) assertTellable(this.#parts.c.extents(ino), 'move');
  }

  #assertRoom(to: number, bytes: number): void {
    const { c, homes, roster, room } = this.#parts;
    const next = to === coordinatorNumber ? { ...room, isStored: c.writeBack !== undefined } : roster.of(to);
    if (next === undefined) throw new FsError('ENONET', 'move', { why: 'the next home has left' });
    if (c.writeBack !== undefined && !next.isStored)
      throw new FsError('ENOTSUP', 'move', {
        why: 'the files of this cluster are stored, and that node has no store: start it with --store DIR',
      });
    const free = next.capacityBytes - (homes.keptBytes.get(to) ?? 0);
    const refuse = (why: string): never => {
      throw new FsError('ENOSPC', 'move', { why: `the file has ${bytes} bytes, and the node ${why}` });
    };
    if (bytes > free) refuse(`room for ${Math.max(0, free)}`);
    if (bytes > next.memoryBytes) refuse(`memory for ${next.memoryBytes}: a file moves through that`);
  }

  async #fetch(
    file: File,
    { from, to }: { from: number; to: number },
    { signal, onProgress }: MoveOptions,
  ): Promise<void> {
    let most = -1;
    for (let vain = 0; vain < vainRounds; ) {
      signal?.throwIfAborted();
      const { present, total } = await this.#take(to, { ...file, from }, signal);
      onProgress?.(present, total);
      if (total - present <= fewBlocks) return;
      vain = present > most ? 0 : vain + 1;
      most = Math.max(most, present);
    }
  }

  async #take(
    to: number,
    fields: File & { from: number },
    signal: AbortSignal | undefined,
  ): Promise<{ present: number; total: number }> {
    const { homes, moving } = this.#parts;
    if (to === coordinatorNumber) return moving.take(fields);
    const link = await homes.neighbour(to).line.link();
    return (await link.request('take', fields, signal === undefined ? {} : { signal })).reply;
  }

  async #give(file: File, { from, to }: { from: number; to: number }): Promise<void> {
    const { homes, moving } = this.#parts;
    if (from === coordinatorNumber) return moving.give({ ...file, to });
    const link = await homes.neighbour(from).line.link();
    await link.request('give', { ...file, to });
  }

  /** In the same turn as the answer: who asks afterwards what became of it is told so. */
  #commit({ ino, generation }: File, { from, to }: { from: number; to: number }): Promise<void> {
    const { c, homes } = this.#parts;
    const everywhere = c.journal.mutate(() => {
      const inode = new InodeCopy();
      if (!readInode(c.segment, ino, inode) || inode.generation !== generation)
        throw new FsError('ESTALE', 'move', { why: `inode ${ino} is gone` });
      if (inode.nlink === 0) throw new FsError('ENOENT', 'move', { why: 'it was removed meanwhile' });
      this.#assertCanBeTold(ino, to);
      if (from === coordinatorNumber) homes.countForeign(inode.pages);
      else if (to === coordinatorNumber) homes.countForeign(-inode.pages);
      if (from === coordinatorNumber) endStoring(c, ino);
      c.writer.touchInode(ino).home = to;
      if (to === coordinatorNumber) beginStoring(c, ino);
      c.journal.afterCommit(() => homes.changed(ino, { from, to }));
    });
    this.#isCommitting = true;
    c.journal.flush();
    this.#isCommitting = false;
    return everywhere;
  }

  #giveUp(file: File, nodes: readonly number[]): void {
    const { homes, moving } = this.#parts;
    for (const node of nodes) {
      if (node === coordinatorNumber) moving.gave(file);
      else homes.neighbour(node).line.current?.event('gave', file);
    }
  }
}
