/**
 * What the file API needs of a session, and nothing more: shared memory to read, a coordinator to ask, pages
 * to fill.
 *
 * Reads go by `segment` and `dataFd` alone. Writes fill pages that are the client's own (`takePages`), or
 * pages of the file while a grant keeps its layout still (`writeBegin` .. `writeEnd`), and the coordinator
 * commits them.
 */
import type {
  Event,
  EventName,
  events,
  FieldsOf,
  Reply,
  RequestName,
  Requests,
  Run,
} from '@cluster-fs/transport';
import type { DataAccess } from '../client/data-access.ts';
import type { Credentials, Segment } from '../segment/index.ts';

export interface Backend {
  /** The published segment; another object after the node came back with a rebuilt one. */
  readonly segment: Segment;
  /**
   * `data`: page n is at byte n * 4096. Read it with pread, never through a mapping: a hole read by pread
   * stays a hole.
   */
  readonly dataFd: number;
  /** Mounted read-only: every change is EROFS. */
  readonly readOnly: boolean;
  readonly credentials: Credentials;
  /** Grows with each rebuilt segment and each reconnection: what was cached from the one before is void. */
  readonly incarnation: number;
  /**
   * Throws when the file system is unmounted (EBADF), or the node is away and `segment` may be out of date
   * (ENOTCONN).
   */
  assertUsable(syscall: string, path?: string): void;
  /** Asks the coordinator; errors have the node's code and the syscall and path given in the fields. */
  request<N extends RequestName>(
    name: N,
    fields: FieldsOf<Requests[N]['fields']>,
    options?: { onProgress?: (p: Event<'progress'>) => void; signal?: AbortSignal },
  ): Promise<Reply<N>>;
  event<N extends EventName>(name: N, fields: FieldsOf<(typeof events)[N]['fields']>): void;
  /**
   * Free pages set aside for the client, all zeros; ENOSPC. Synchronous when it still has enough.
   */
  takePages(count: number): Run[] | Promise<Run[]>;
  /** Brings absent pages of a file into `data`. */
  fetchPages(ino: number, pages: { readonly from: number; readonly count: number }): Promise<void>;
  /** As `fetchPages`; blocks the calling thread. */
  fetchPagesNow(ino: number, pages: { readonly from: number; readonly count: number }): void;
  /** Gives pages back that were taken and not committed, whatever was stored in them. */
  givePages(runs: readonly Run[]): void;
  /**
   * Calls `listener` for every event of the node below `path` (all, without); resolves to the way to stop.
   */
  subscribe(path: string | undefined, listener: (event: Event<'event'>) => void): Promise<() => void>;
  /**
   * Every copy from or to `data` is between `begin` and `end`, or `pooled`. Meanwhile `dataFd` stays open,
   * and the node is not told that nothing is copied any more: neither when it comes back from a restart nor
   * by an unmount.
   */
  readonly access: Pick<DataAccess, 'begin' | 'end' | 'pooled' | 'renewed'>;
}
