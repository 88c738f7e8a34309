/**
 * What the application's thread and its session worker say to each other, over a MessagePort inside one
 * process.
 *
 * Descriptors and addresses belong to the process, so they travel as plain numbers.
 */
import type { Event, Extent, FieldsOf, HomeLossPolicy, RequestName, Requests } from '@cluster-fs/transport';
import { FsError } from '@cluster-fs/transport';
import type { Endpoint } from './handshake.ts';

export interface WorkerOptions extends Endpoint {
  /** Of the segment format; given and not computed again, since the worker needs nothing else of it. */
  readonly layoutHash: number;
  readonly access: 'r' | 'rw';
  readonly label: string;
  /** Never use a userfaultfd, as where the kernel has none. */
  readonly pinned: boolean;
  /** What touches get while the home of a file is away. */
  readonly onHomeLoss: HomeLossPolicy;
  /** How long to look for a node that went away, before the session is given up. */
  readonly reconnectMs: number;
  /** Words that both threads see: see flag. */
  readonly flags: SharedArrayBuffer;
}

/** Indexes in WorkerOptions.flags. */
export const flag = {
  /** Up to which time that the node came back it gives away what it kept for copies of before. */
  forced: 0,
  /** Copies from and to `data` that the application's thread has under way. */
  copies: 1,
  length: 2,
} as const;

/** Indexes in a view's shared state, a Float64Array: each is one word and whole by itself. */
export const viewState = {
  size: 0,
  layoutVersion: 1,
  remaps: 2,
  /** 1 when the application hears of moves too. */
  listening: 3,
  /** 1 while the application listens for recalls, and may let go of the view. */
  recallable: 4,
  length: 5,
} as const;

export interface MapOptions {
  readonly path: string;
  readonly mode: 'r' | 'rw';
  readonly follow: 'live' | 'manual';
  /** On a page. */
  readonly offset: number;
  readonly length: number | undefined;
  readonly reserve: number | undefined;
}

/** Where a file was when the application's thread looked: mostly it is there still when it has the lease. */
export interface Seen {
  readonly ino: number;
  readonly generation: number;
  readonly layoutVersion: number;
  readonly size: number;
  readonly extents: readonly Extent[];
}

export interface Mapped {
  /**
   * Names the view between the threads, for as long as it is open; the node's number changes when it comes
   * back.
   */
  readonly key: number;
  readonly address: number;
  /** Bytes mapped, whole pages. */
  readonly mappedLength: number;
  /** Bytes that the view shows: what was asked for. */
  readonly length: number;
  readonly ino: number;
  readonly state: SharedArrayBuffer;
}

export interface SessionFacts {
  readonly session: number;
  readonly token: Uint8Array;
  readonly epoch: number;
  readonly segmentId: Uint8Array;
  readonly metaFd: number;
  readonly metaSize: number;
  readonly dataFd: number;
  /** As long as it is open, nodes that come after wait for this process. */
  readonly lockFd: number;
  /** Pages may be absent: views wait for them. */
  readonly paged: boolean;
  readonly nodePid: number;
  readonly onDemand: boolean;
}

export interface PlainError {
  readonly code: string;
  readonly syscall: string;
  readonly path: string | undefined;
  readonly dest: string | undefined;
  readonly why: string | undefined;
}

export type ToWorker =
  | {
      readonly type: 'map';
      readonly id: number;
      readonly options: MapOptions;
      readonly seen: Seen | undefined;
    }
  | { readonly type: 'unmap'; readonly key: number; readonly keepAddresses: boolean }
  | { readonly type: 'keep'; readonly key: number }
  | { readonly type: 'advance'; readonly id: number; readonly key: number }
  | {
      readonly type: 'request';
      readonly id: number;
      readonly name: 'subscribe' | 'unsubscribe';
      readonly fields: FieldsOf<Requests['subscribe']['fields']>;
    }
  | {
      readonly type: 'fetchNow';
      readonly ino: number;
      readonly from: number;
      readonly count: number;
      /** See `awaitFetch`: the application's thread waits on it. */
      readonly answer: SharedArrayBuffer;
    }
  /** No store of before is under way. */
  | { readonly type: 'drained'; readonly times: number }
  | { readonly type: 'close' };

export type ToMain =
  | { readonly type: 'open'; readonly facts: SessionFacts }
  | { readonly type: 'refused'; readonly error: PlainError }
  | { readonly type: 'done'; readonly id: number; readonly value: unknown }
  | { readonly type: 'failed'; readonly id: number; readonly error: PlainError }
  | {
      readonly type: 'remapped';
      readonly key: number;
      readonly cause: Event<'remap'>['cause'];
      readonly layoutVersion: number;
      readonly size: number;
      readonly address: number;
    }
  | {
      readonly type: 'changed';
      readonly key: number;
      readonly cause: Event<'changed'>['cause'];
      readonly layoutVersion: number;
      readonly size: number;
    }
  | {
      readonly type: 'recall';
      readonly key: number;
      readonly reason: string;
      /** File pages. */
      readonly from: number;
      readonly count: number;
      readonly deadlineMs: number;
    }
  | { readonly type: 'event'; readonly event: Event<'event'> }
  | { readonly type: 'away' }
  /** `times`: how often it came back. */
  | {
      readonly type: 'back';
      readonly facts: SessionFacts;
      readonly stale: readonly number[];
      readonly times: number;
    }
  /** `stale`: views that are zeros from here on. The others stay as they are. */
  | { readonly type: 'lost'; readonly error: PlainError; readonly stale: readonly number[] };

export const toPlain = ({ code, syscall, path, dest, why }: FsError): PlainError => ({
  code,
  syscall,
  path,
  dest,
  why,
});

export const fromPlain = ({ code, syscall, path, dest, why }: PlainError): FsError =>
  new FsError(code as FsError['code'], syscall, { path, dest, why });

export type ControlRequest = Extract<
  RequestName,
  'lease' | 'mapped' | 'present' | 'advance' | 'subscribe' | 'unsubscribe'
>;
