/** What the coordinator of one node asks of the rest of the cluster. On a node alone there is neither. */
import {
  type AnyRequest,
  type Extent,
  FsError,
  type Hole,
  type Reply,
  type Request,
  type RequestName,
} from '@cluster-fs/transport';
import type { Range } from '../store/stored.ts';
import type { MoveOptions } from './move.ts';
import type { Handle, Session, View } from './session.ts';

export type AnyReply = Reply<RequestName>;

/** Which node answers what a client asks of this one. */
export interface Routes {
  /** `here`: the answer of this node. */
  answer(
    session: Session,
    request: AnyRequest,
    here: () => AnyReply | Promise<AnyReply>,
  ): AnyReply | Promise<AnyReply>;
  handleClosed(session: Session, handle: Handle): void;
  sessionEnded(session: Session): void;
}

/** Which node keeps which file: what the coordinator of a cluster does about that. */
export interface Placing {
  /** Moves a file to the node of that name. */
  migrate(session: Session, request: Request<'migrate'>, options: MoveOptions): Promise<Reply<'migrate'>>;
  drain(request: Request<'drain'>, options: MoveOptions): Promise<Reply<'drain'>>;
  rebalance(request: Request<'rebalance'>, options: MoveOptions): Promise<Reply<'rebalance'>>;
}

/** What stores of other nodes have to do for a sync at this one. */
export interface Stores {
  /** At the home of a file: what was answered of its size and names survives a loss of power. */
  names(ino: number): Promise<void>;
  /** At the coordinator: so does the content of a file of another home. */
  file(ino: number): Promise<void>;
  /** At the coordinator: the content of all such files; how many pages were stored. */
  all(): Promise<number>;
}

/** What a node says of its cluster. */
export interface ClusterReport {
  /** `home`: the coordinator, where the cluster began. */
  readonly role: 'home' | 'member';
  /** Of this node in the cluster. */
  readonly name: string;
  /** Bytes of the files that this node keeps. */
  readonly keptBytes: number;
  /** Commits of the home that changed the tree; of a member: those that it has. */
  readonly sequence: number;
  /** Those that joined, and those that keep files and are away; at the coordinator. */
  readonly nodes: readonly NodeReport[];
  /** Nodes that keep files, or did, by the numbers that inodes name. The coordinator is 0. */
  readonly homes: readonly { readonly number: number; readonly name: string }[];
  /** The home, for a member. */
  readonly home: { readonly url: string; readonly isConnected: boolean } | null;
  /** Blocks that other nodes have, or have had until somebody touches them here. */
  readonly lentBlocks: number;
  /** Bytes of the home's files in the memory of a member. */
  readonly cachedBytes: number;
  readonly fetchedBlocks: number;
  readonly faults: number;
  /** Blocks whose stores were lost with a node, or with its lease. */
  readonly lostBlocks: number;
  readonly stags: number;
}

export interface NodeReport {
  readonly name: string;
  /** Null while it is not connected, and its lease lasts. */
  readonly url: string | null;
  /** Commits that it does not have yet. */
  readonly behind: number;
  /** Bytes of the files that it keeps; null when it keeps none, and can keep none. */
  readonly keptBytes: number | null;
}

/** The file has another home by now: ask that one. */
export const moved = (syscall: string): FsError =>
  new FsError('EAGAIN', syscall, { why: 'the file has another home by now' });

export type Access = 'read' | 'write';

export interface FileId {
  readonly ino: number;
  readonly generation: number;
}

/**
 * Blocks of files that several nodes use (docs/coherence.md), as the processes of this node are concerned.
 * File pages that these processes may not even read are absent from `data`.
 */
export interface FileBlocks {
  /** A view is about to be given on a file; resolves when it may be. ESTALE when the home has it no more. */
  open(file: FileId, lease: Pick<Request<'lease'>, 'mode' | 'follow'>, session: Session): Promise<void>;
  /** A view is mapped: what it may not store into is protected. */
  watch(view: View): void;
  /** Whether processes here may do that with all pages of the range just now. */
  holds(ino: number, range: Range, access: Access): boolean;
  /** Resolves when they may; the next moment they may not again. EIO when the home cannot give it. */
  acquire(ino: number, range: Range, access: Access): Promise<void>;
  /** A process waits for a page; false when what it waits for is none of the cluster's concern. */
  fault(view: View, filePage: number, access: Access): boolean;
  /** Whether another node has, or had, some of the file: it must stay as it lies. */
  isShared(ino: number): boolean;
  /** Whether another node may store into the file. */
  isWritten(ino: number): boolean;
}

/** What views map that keep what they show, of files of other homes: copies, which nobody takes from them. */
export interface ViewCopies {
  /** Whether such a view of the file maps a copy. */
  isFor(ino: number, follow: View['follow'], session: Session): boolean;
  /**
   * Runs `use` when there is a copy of the file as it is: again when `extentsOf` has failed there, since it
   * was changed just then. EBUSY when that happens all the time; ENOSPC; EIO, ECONNRESET while the home is
   * away.
   */
  serve<T>(ino: number, use: () => Promise<T>): Promise<T>;
  /** Where the copy lies, whole and of one moment. Requires: inside mutate. */
  extentsOf(ino: number): readonly Extent[];
  /** Whether a view of before a crash can go on with these pages: nobody else has got them. */
  isKept(ino: number, extents: readonly Extent[]): boolean;
  /** It does. Requires: inside mutate; `isKept`. */
  goOn(view: View): void;
  /** Such a view maps nothing any more. */
  released(view: View): void;
  /** The file, or a view of it to store, has other pages than before in these ranges. */
  relaid(ino: number, ranges: readonly Hole[]): void;
}

/** The blocks of all files, whichever node their home is. */
export interface Blocks extends FileBlocks {
  /** While leases may last that a node of before gave: nobody is let in before. Undefined when none do. */
  readonly opening: Promise<void> | undefined;
  /** From here on, until `release`, other nodes get nothing of the file that they do not have. */
  hold(ino: number): void;
  release(ino: number): void;
  /** From here on that is so for all files: this node stops. */
  lendNothing(): void;
  /** What is here of others goes home, as far as it does in time, and nothing more of theirs is asked for. */
  giveUp(limitMs: number): Promise<void>;
  /** When nobody is served any more: what the home has of its files beside `data` goes there. */
  bringBack(): void;
  /** They hear that this node has nothing of them, so that nobody waits for a lease. Requires: `giveUp`. */
  leave(): Promise<void>;
  /** Whether this node is the home of the file, or is alone. */
  isOwn(ino: number): boolean;
  /** EBUSY when a client here may not have the file pinned: another node uses it. EAGAIN, see `following`. */
  assertMayPin(ino: number, mode: View['mode']): void;
  readonly copies: ViewCopies | undefined;
  /** Asks the home of a file, and the next one when it has moved meanwhile: EAGAIN says so. */
  following<T>(ino: number, ask: (home: number) => T | Promise<T>): Promise<T>;
  /** Whether what is here of a file goes to the store: this node is its home, or about to be. */
  stores(ino: number): boolean;
  /** Copies of other nodes' blocks leave memory, as far as they have more than their share; how many did. */
  giveWay(pages: number): number;
  /** How many pages more of its files this node has memory for. */
  readonly freePages: number;
  /** A file is no more, which lay there: nobody has any of it. */
  forget(ino: number, extents: readonly Extent[]): void;
  /**
   * A file of another home that is mapped here to store gets pages here for its holes, as its home is told to
   * give it some. Requires: inside mutate.
   */
  layOutWhole(ino: number): void;
  /** Files of other homes get so many pages here; fewer, when negative. Requires: inside mutate. */
  countForeign(pages: number): void;
  /** The files of which `isShared` is true, at their home. */
  sharedFiles(): Iterable<number>;
}
