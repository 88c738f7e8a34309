/**
 * What the coordinator knows of one client: its connections, and everything that must go when it goes.
 *
 * INVARIANT: what a session holds (handles, views, grants, reserved pages, descriptors) is in these maps and
 * nowhere else only; endSession() empties them, and then nothing of the client is left.
 */
import type { Connection, Extent, HomeLossPolicy, Run } from '@cluster-fs/transport';
import type { Credentials } from 'cluster-fs/segment';
import type { Hold } from './gate.ts';

/** An open file: keeps its inode alive without a name. */
export interface Handle {
  readonly id: number;
  readonly ino: number;
  readonly generation: number;
  readonly path: string;
  readonly writable: boolean;
}

/** A mapping in a client: a layout lease. */
export interface View {
  readonly id: number;
  readonly session: Session;
  readonly ino: number;
  readonly generation: number;
  readonly path: string;
  readonly mode: 'r' | 'rw';
  readonly follow: 'live' | 'manual';
  /** It maps a copy, and none of the file's pages: the home of the file is another node. */
  readonly isCopy: boolean;
  /** First file page of the view, and how many it may ever show. */
  readonly from: number;
  readonly pages: number;
  /** Where it is mapped in the client; undefined until the client says so. */
  address: number | undefined;
  /** What it maps, as far as it was told: file pages in the segment. */
  extents: readonly Extent[];
  /** What it is told to map with the commit that is being made, in order. */
  planned: readonly (readonly Extent[])[];
  layoutVersion: number;
  size: number;
  /** Follows by hand, and the file has newer content. */
  behind: boolean;
  /** Serial of the last remap it was sent, and of the last that it said is in place. */
  sentSerial: number;
  ackedSerial: number;
  /** Remaps that it has not acknowledged, oldest first. */
  unanswered: readonly Unanswered[];
}

/** A remap on its way to a view: until its `ack`, the view may map these file pages to where they were. */
export interface Unanswered {
  readonly serial: number;
  /** What the view mapped before. */
  readonly before: readonly Extent[];
  readonly from: number;
  readonly count: number;
  readonly sentMs: number;
}

/** A write in place: the layout stands still until it ends. */
export interface Grant {
  readonly id: number;
  readonly session: Session;
  readonly ino: number;
  readonly offset: number;
  readonly length: number;
  readonly path: string;
  /** Pages that the write adds: attached by `writeEnd`. */
  readonly added: readonly Extent[];
  readonly reservation: Reservation | undefined;
  hold: Hold | undefined;
  broken: boolean;
}

/** Pages set aside: a row in `held`, and what of it is not given away yet. */
export interface Reservation {
  /** Undefined for pages of the coordinator's own, which no client stores into. */
  readonly heldId: number | undefined;
  left: Run[];
}

export interface Session {
  readonly id: number;
  readonly token: Uint8Array;
  readonly pid: number;
  readonly label: string;
  readonly access: 'r' | 'rw';
  readonly credentials: Credentials;
  /** Of a client of another node there is none: it hears of nothing here. */
  readonly control: Pick<Connection, 'event' | 'close'>;
  readonly requests: Set<Connection>;
  /** The client's userfaultfd; undefined for a pinned client. */
  readonly userfault: number | undefined;
  readonly kernelFaults: boolean;
  /** What its touches get while the home of a file is away. */
  readonly onHomeLoss: HomeLossPolicy;
  /** A client of another node, which asks in its name. */
  readonly isGuest: boolean;
  readonly sinceMs: number;
  readonly handles: Map<number, Handle>;
  readonly views: Map<number, View>;
  readonly grants: Map<number, Grant>;
  readonly reservations: Set<Reservation>;
  readonly subscriptions: Map<number, string | undefined>;
  /** Holds its lock until the client has that; undefined from then on. */
  lockFd: number | undefined;
  /**
   * Revoked, or gone. A revoked session changes nothing any more; what it maps is kept for it until its
   * process says that it maps nothing, or is gone.
   */
  ended: boolean;
}
