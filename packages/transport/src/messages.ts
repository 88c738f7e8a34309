/**
 * THE wire table: every message between a client and its node. docs/protocol.md is generated from it.
 *
 * A session has two connections. The *control* connection belongs to the session worker; it opens the
 * session, takes leases and receives remaps, and when it closes the session ends. The *request* connection
 * belongs to the application's main thread and carries everything else; it joins the session with the token
 * from `welcome`.
 *
 * A request carries a request id and gets exactly one reply. An event has no id and no reply. Ids are never
 * reused.
 */
import {
  bool,
  bytes,
  bytesUpTo,
  type Codec,
  f64,
  list,
  oneOf,
  optional,
  type RecordOf,
  record,
  report,
  text,
  u32,
  u53,
} from './codec.ts';
import { extents, guess, holes, homeLoss, moveFailures, names, path, plannedMoves, runs } from './records.ts';

export const protocolVersion = 8;

/** What is stored by `write`, and no longer by the client itself: half of what a node receives at once. */
export const shortWriteBytes = 8192;

type Shape = Readonly<Record<string, Codec<unknown>>>;
interface Entry {
  readonly id: number;
  readonly doc: string;
  readonly fields: Shape;
  /** Descriptors that travel with the message. */
  readonly donates?: string;
}
interface RequestEntry extends Entry {
  readonly connection: 'control' | 'request' | 'either';
  readonly reply: Shape;
  readonly replyDonates?: string;
}

/** What the client asks. Each gets a `reply` or an `error` with the same request id. */
export const requests = {
  hello: {
    id: 16,
    connection: 'control',
    donates: 'userfaultfd (on-demand clients)',
    doc: 'Opens a session. EPROTONOSUPPORT when version or layout differ.',
    fields: {
      protocol: u32,
      layoutHash: u32,
      pid: u32,
      access: oneOf('r', 'rw'),
      label: text(256),
      kernelFaults: bool,
      onHomeLoss: homeLoss,
    },
    reply: {
      session: u53,
      token: bytes(16),
      epoch: u53,
      segmentId: bytes(16),
      metaSize: u53,
      dataSize: u53,
      paged: bool,
      nodePid: u32,
    },
    replyDonates: 'meta (read-only), data, the lock of the session',
  },
  attach: {
    id: 17,
    connection: 'request',
    doc: 'Joins a request connection to the session that holds the token.',
    fields: { session: u53, token: bytes(16) },
    reply: {},
  },
  lease: {
    id: 18,
    connection: 'control',
    doc: 'Opens a view: a lease on an inode. Its layout stands still until `mapped`, or `guess` was right.',
    fields: {
      path,
      mode: oneOf('r', 'rw'),
      follow: oneOf('live', 'manual'),
      offset: u53,
      length: optional(u53),
      reserve: optional(u53),
      guess: optional(record('guess', guess)),
    },
    reply: {
      view: u53,
      ino: u32,
      generation: u32,
      size: u53,
      layoutVersion: u53,
      length: u53,
      extents,
      mapped: bool,
    },
  },
  mapped: {
    id: 19,
    connection: 'control',
    doc: 'The view is mapped at `address`; from here its pages can be armed and swapped.',
    fields: { view: u53, address: u53, length: u53 },
    reply: {},
  },
  present: {
    id: 20,
    connection: 'control',
    doc: 'Presents a lease to a node that came back; the answer is where the file is now.',
    fields: {
      view: u53,
      ino: u32,
      generation: u32,
      mode: oneOf('r', 'rw'),
      follow: oneOf('live', 'manual'),
      path,
      offset: u53,
      size: u53,
      layoutVersion: u53,
      address: u53,
      length: u53,
      extents,
    },
    reply: { view: u53, size: u53, layoutVersion: u53, extents, stale: bool },
  },
  resumed: {
    id: 22,
    connection: 'control',
    doc: 'The client has let go of the locks of sessions of before: all of theirs is presented.',
    fields: {},
    reply: {},
  },
  advance: {
    id: 21,
    connection: 'control',
    doc: 'Brings a view to the newest content. `ack` lets old pages go. `unarmed`: say `mapped` again.',
    fields: { view: u53 },
    reply: { serial: u53, size: u53, layoutVersion: u53, extents, unarmed: bool },
  },
  release: {
    id: 23,
    connection: 'control',
    doc: 'Nothing of the view is mapped any more, its lease ends. Answered: its addresses are left alone.',
    fields: { view: u53 },
    reply: {},
  },
  open: {
    id: 32,
    connection: 'request',
    doc: 'Opens a handle, by the flags of open(2); the inode lives as long as the handle.',
    fields: { path, flags: u32, mode: u32 },
    reply: { handle: u53, ino: u32, generation: u32, created: bool },
  },
  reserve: {
    id: 33,
    connection: 'request',
    doc: 'Sets free pages aside for the client, to be filled and then given to a file.',
    fields: { pages: u32 },
    reply: { runs },
  },
  put: {
    id: 34,
    connection: 'request',
    doc: 'Makes reserved pages, around `holes`, the whole of a file, made if missing: old or new, whole.',
    fields: {
      path: optional(path),
      handle: optional(u53),
      flags: u32,
      mode: u32,
      size: u53,
      runs,
      holes: optional(holes),
      mtimeMs: optional(f64),
    },
    reply: { ino: u32, layoutVersion: u53 },
  },
  attachPages: {
    id: 35,
    connection: 'request',
    doc: 'Gives reserved pages to a file at a page-aligned offset where it has none yet.',
    fields: { handle: u53, offset: u53, length: u53, runs },
    reply: { size: u53 },
  },
  writeBegin: {
    id: 36,
    connection: 'request',
    doc: 'Asks to store in place: the range gets pages, and its layout stands still until `writeEnd`.',
    fields: { handle: u53, offset: optional(u53), length: u53 },
    reply: { grant: u53, offset: u53, extents },
  },
  writeEnd: {
    id: 37,
    connection: 'request',
    doc: 'The bytes are in place; where. ESTALE when the grant was broken: write again.',
    fields: { grant: u53, written: u53 },
    reply: { size: u53, offset: u53 },
  },
  write: {
    id: 38,
    connection: 'request',
    doc: 'Stores a few bytes at an offset, or at the end: one request instead of two.',
    fields: { handle: u53, offset: optional(u53), bytes: bytesUpTo(shortWriteBytes) },
    reply: { size: u53, offset: u53 },
  },
  mkdir: {
    id: 40,
    connection: 'request',
    doc: 'Makes a directory; with `recursive` also the missing ones above, and `first` names the first made.',
    fields: { path, mode: u32, recursive: bool },
    reply: { first: optional(path) },
  },
  rmdir: { id: 41, connection: 'request', doc: 'Removes an empty directory.', fields: { path }, reply: {} },
  unlink: {
    id: 42,
    connection: 'request',
    doc: 'Removes a name; the inode goes with its last name, handle and lease.',
    fields: { path },
    reply: {},
  },
  rename: {
    id: 43,
    connection: 'request',
    doc: 'rename(2): atomic, replaces the target.',
    fields: { from: path, to: path },
    reply: {},
  },
  link: {
    id: 44,
    connection: 'request',
    doc: 'A further name for a file.',
    fields: { from: path, to: path },
    reply: {},
  },
  symlink: {
    id: 45,
    connection: 'request',
    doc: 'A symbolic link.',
    fields: { target: path, path },
    reply: {},
  },
  setAttributes: {
    id: 46,
    connection: 'request',
    doc: 'Changes what is given: mode, owner, times, size. A shrunk range reads as zeros in every view.',
    fields: {
      path: optional(path),
      handle: optional(u53),
      follow: bool,
      syscall: text(16),
      mode: optional(u32),
      uid: optional(u32),
      gid: optional(u32),
      atimeMs: optional(f64),
      mtimeMs: optional(f64),
      size: optional(u53),
    },
    reply: {},
  },
  remove: {
    id: 47,
    connection: 'request',
    doc: 'Removes a whole tree in one transaction a thousand entries; counts what it removed.',
    fields: { path },
    reply: { removed: u53 },
  },
  fallocate: {
    id: 48,
    connection: 'request',
    doc: 'fallocate(2): makes a hole, zeroes a range, or gives it pages. EBUSY names who holds it pinned.',
    fields: {
      path: optional(path),
      handle: optional(u53),
      mode: oneOf('allocate', 'punch', 'zero'),
      keepSize: bool,
      offset: u53,
      length: u53,
    },
    reply: { size: u53 },
  },
  move: {
    id: 56,
    connection: 'request',
    doc: 'Moves a file to one new run of pages, under every view, reader and writer.',
    fields: { path, progress: bool },
    reply: {
      pages: u53,
      pieces: u53,
      before: u32,
      after: u32,
      bytesCopied: u53,
      elapsedMs: f64,
      copyMs: f64,
      swapMs: f64,
    },
  },
  migrate: {
    id: 90,
    connection: 'request',
    doc: 'Moves a file to another node of the cluster, by its name, under every view, reader and writer.',
    fields: { path, to: text(256), progress: bool },
    reply: { bytes: u53, elapsedMs: f64, pausedMs: f64 },
  },
  drain: {
    id: 91,
    connection: 'request',
    doc: 'Moves all files that a node keeps to others, which have room for them.',
    fields: { node: text(256), progress: bool },
    reply: { files: u53, bytes: u53, failed: moveFailures },
  },
  rebalance: {
    id: 92,
    connection: 'request',
    doc: 'Moves files to where they are used, and from full nodes to empty ones; or says what it would move.',
    fields: { dryRun: bool, progress: bool },
    reply: { moves: plannedMoves, failed: moveFailures, away: names },
  },
  defrag: {
    id: 57,
    connection: 'request',
    doc: 'Packs the segment: every file one extent, free space one run, as far as space allows.',
    fields: { progress: bool },
    reply: { files: u53, moved: u53, pages: u53, fragmented: u53, freeRuns: u53, elapsedMs: f64 },
  },
  sync: {
    id: 62,
    connection: 'request',
    doc: 'Makes a file durable, or all; and what was answered before of names and attributes.',
    fields: { ino: optional(u32) },
    reply: { durable: bool, pages: u53 },
  },
  fetch: {
    id: 63,
    connection: 'either',
    doc: 'Brings absent pages of a file into `data`. EIO when the store is damaged there.',
    fields: { ino: u32, from: u32, count: u32 },
    reply: {},
  },
  evict: {
    id: 72,
    connection: 'request',
    doc: 'Takes a file out of memory, as far as it can be; it stays in the store.',
    fields: { ino: u32 },
    reply: { pages: u53 },
  },
  pin: {
    id: 73,
    connection: 'request',
    doc: 'Keeps a file in memory until the session ends or lets go of it.',
    fields: { ino: u32, on: bool },
    reply: {},
  },
  status: {
    id: 64,
    connection: 'either',
    doc: 'What the node is, has and does.',
    fields: {},
    reply: { status: report },
  },
  holders: {
    id: 65,
    connection: 'request',
    doc: 'Who maps what, at which layoutVersion, and what they hold up.',
    fields: { path: optional(path) },
    reply: { holders: report },
  },
  revoke: {
    id: 66,
    connection: 'request',
    doc: 'Ends a session from the outside; its views read as zeros as soon as it hears of it.',
    fields: { session: u53 },
    reply: {},
  },
  subscribe: {
    id: 67,
    connection: 'control',
    doc: 'Asks for `event`s, of everything or of what happens below a path.',
    fields: { subscription: u53, path: optional(path) },
    reply: {},
  },
  unsubscribe: {
    id: 68,
    connection: 'control',
    doc: 'Ends a subscription.',
    fields: { subscription: u53 },
    reply: {},
  },
  check: {
    id: 69,
    connection: 'request',
    doc: 'Runs every invariant over segment and metadata; the findings, one line each.',
    fields: {},
    reply: { findings: list(text(1024), 1024) },
  },
} as const satisfies Record<string, RequestEntry>;

/** What either side says without being answered. */
export const events = {
  close: { id: 128, doc: 'client: the handle is done with.', fields: { handle: u53 } },
  ack: {
    id: 130,
    doc: 'client: remap `serial` is in place in this view; nothing maps the old pages.',
    fields: { view: u53, serial: u53 },
  },
  unreserve: { id: 131, doc: 'client: gives reserved pages back.', fields: { runs } },
  cancel: {
    id: 132,
    doc: 'client: stops a long request as soon as it can; what is done stays done.',
    fields: { request: u53 },
  },
  keep: {
    id: 133,
    doc: 'client: answers `recall`: nobody there would let go of the view, so do not wait for it.',
    fields: { view: u53 },
  },
  remap: {
    id: 160,
    doc: 'node: file pages `from` .. `from + count` lie in `extents`, else zeros. Swap, wake, ack.',
    fields: {
      view: u53,
      serial: u53,
      cause: oneOf('move', 'replace', 'truncate', 'grow', 'punch', 'zero', 'revoke'),
      layoutVersion: u53,
      size: u53,
      from: u32,
      count: u32,
      extents,
    },
  },
  changed: {
    id: 161,
    doc: 'node: the content under a view that follows by hand has a newer version; `advance` brings it.',
    fields: {
      view: u53,
      cause: oneOf('replace', 'truncate', 'grow', 'punch', 'zero'),
      layoutVersion: u53,
      size: u53,
    },
  },
  event: {
    id: 162,
    doc: 'node: something happened; for subscribers.',
    fields: { subscription: u53, kind: text(32), path: optional(path), detail: report, timeMs: f64 },
  },
  progress: {
    id: 163,
    doc: 'node: how far a long request is.',
    fields: { request: u53, done: u53, total: u53, what: text(256) },
  },
  bye: {
    id: 164,
    doc: 'node: the session is over, and why. Map nothing of `data` any more, then close.',
    fields: { code: text(32), why: text(1024) },
  },
  recall: {
    id: 165,
    doc: 'node: `reason` waits for file pages `from` .. `from + count`: `release` the view, or `keep`.',
    fields: { view: u53, reason: text(64), from: u32, count: u53, deadlineMs: u53 },
  },
  leases: {
    id: 166,
    doc: 'node: it begins to use files of another node: watch until when it may (`lease.heldUntilNs`).',
    fields: {},
  },
} as const satisfies Record<string, Entry>;

/** Answers; the id of the request says which reply shape it has. */
export const replyId = 1;
export const errorReply = {
  id: 2,
  fields: {
    code: text(32),
    syscall: text(64),
    path: optional(text(8192)),
    dest: optional(text(8192)),
    why: optional(text(4096)),
  },
} as const;

export type Requests = typeof requests;
export type RequestName = keyof Requests;
export type Request<N extends RequestName> = RecordOf<Requests[N]['fields']>;
export type Reply<N extends RequestName> = RecordOf<Requests[N]['reply']>;
export type Events = typeof events;
export type EventName = keyof Events;
export type Event<N extends EventName> = RecordOf<Events[N]['fields']>;
export type ErrorReply = RecordOf<typeof errorReply.fields>;
