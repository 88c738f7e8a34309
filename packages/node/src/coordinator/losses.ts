/**
 * Stores that were lost with another node, or may be: with the home of the file, whose memory went, or with
 * this node's lease there. Each session that was there learns of it by the next sync of the file, which fails
 * with EIO, once: as fsync(2) tells everybody who had the file open of what was not written back.
 */
import { FsError } from '@cluster-fs/transport';
import { homeIn, InodeCopy, readInode } from 'cluster-fs/segment';
import type { Coordinator } from './coordinator.ts';
import type { Session } from './session.ts';
import type { Unsaved } from './unsaved.ts';

interface Loss {
  readonly generation: number;
  readonly atMs: number;
}

/** What a session knows. */
interface Told {
  /** Of everything until then. */
  allMs: number;
  /** Of single files. */
  readonly filesMs: Map<number, number>;
  /** Files of which nobody can say any more whether something was lost. */
  readonly suspected: Set<number>;
}

export class Losses {
  readonly #c: Pick<Coordinator, 'now' | 'segment' | 'sessions'>;
  readonly #files = new Map<number, Loss>();
  /** When the memory of a home was lost, by its number. */
  readonly #homes = new Map<number, number>();
  readonly #told = new WeakMap<Session, Told>();
  /** Undefined on a node alone. */
  unsaved: Unsaved | undefined;

  constructor(c: Pick<Coordinator, 'now' | 'segment' | 'sessions'>) {
    this.#c = c;
  }

  /** Something that was stored into the file is lost. */
  file(ino: number): void {
    this.unsaved?.keep(ino);
    this.#note(ino, this.#c.now());
  }

  /** What was changed in files of that home, and not synced, may be lost. */
  home(number: number): void {
    this.unsaved?.keep(undefined);
    this.#homes.set(number, this.#c.now());
  }

  /** A file has got another home: it has what it had at the last one. */
  rehomed(ino: number, from: number): void {
    const atMs = this.#homes.get(from);
    if (atMs === undefined || atMs <= this.#fileMs(ino)) return;
    this.unsaved?.keep(ino);
    this.#note(ino, atMs);
  }

  /** The session may have stored into the file when the node of before was killed. */
  suspect(session: Session, ino: number, { isOwn }: { readonly isOwn: boolean }): void {
    if (this.unsaved?.mayLack(ino, { isOwn }) === true) this.#toldTo(session).suspected.add(ino);
  }

  /** Whether every client knows of all that was lost. */
  get isTold(): boolean {
    return [...this.#c.sessions.values()].every((session) => session.isGuest || !this.#owes(session));
  }

  /**
   * Requires: after a sync of the file, or of all, for the session.
   *
   * @throws FsError EIO: what was stored before is lost, or may be; said once for each loss
   */
  tell(session: Session, ino: number | undefined): void {
    const isNews = ino === undefined ? this.#tellAll(session) : this.#tellOf(session, ino);
    if (!isNews) return;
    const which = ino === undefined ? 'files' : 'the file';
    throw new FsError('EIO', 'fsync', {
      why: `what was stored into ${which} before, and not synced, may be lost with a node that was away`,
    });
  }

  #tellOf(session: Session, ino: number): boolean {
    const told = this.#toldTo(session);
    const known = Math.max(told.allMs, told.filesMs.get(ino) ?? 0);
    const atMs = Math.max(this.#fileMs(ino), this.#homes.get(homeIn(this.#c.segment, ino)) ?? 0);
    const isNews = told.suspected.delete(ino) || atMs > known;
    if (isNews) told.filesMs.set(ino, Math.max(atMs, known));
    return isNews;
  }

  /** Whether there is anything that it does not know. */
  #owes(session: Session): boolean {
    const told = this.#toldTo(session);
    const isUnknown = (atMs: number, ino?: number) =>
      atMs > Math.max(told.allMs, ino === undefined ? 0 : (told.filesMs.get(ino) ?? 0));
    return (
      told.suspected.size > 0 ||
      [...this.#homes.values()].some((atMs) => isUnknown(atMs)) ||
      [...this.#files.keys()].some((ino) => isUnknown(this.#fileMs(ino), ino))
    );
  }

  #tellAll(session: Session): boolean {
    const isNews = this.#owes(session);
    this.#told.set(session, { allMs: this.#c.now(), filesMs: new Map(), suspected: new Set() });
    return isNews;
  }

  /** When the file lost something; 0 when that was another file of the same number. */
  #fileMs(ino: number): number {
    const loss = this.#files.get(ino);
    return loss !== undefined && this.#generationOf(ino) === loss.generation ? loss.atMs : 0;
  }

  #note(ino: number, atMs: number): void {
    const generation = this.#generationOf(ino);
    if (generation !== undefined) this.#files.set(ino, { generation, atMs });
  }

  #generationOf(ino: number): number | undefined {
    const inode = new InodeCopy();
    return readInode(this.#c.segment, ino, inode) ? inode.generation : undefined;
  }

  #toldTo(session: Session): Told {
    const known = this.#told.get(session);
    if (known !== undefined) return known;
    const told = { allMs: session.sinceMs, filesMs: new Map<number, number>(), suspected: new Set<number>() };
    this.#told.set(session, told);
    return told;
  }
}
