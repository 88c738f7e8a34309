/**
 * THE wire table between nodes: every message of a link. docs/peer-protocol.md is generated from it.
 *
 * Both ends speak the same table; the one that connected begins with `hello`. A request carries a request id
 * and gets exactly one reply; an event has no id and no reply. A row says whether the message, or its reply,
 * comes with a *payload*: raw bytes beside the msgpack body. Ids are never reused.
 */
import {
  bool,
  bytes,
  type Codec,
  f64,
  list,
  oneOf,
  optional,
  type RecordOf,
  record,
  report,
  text,
  u16,
  u32,
  u53,
  values,
} from '../codec.ts';
import { hole, maxPathLength } from '../records.ts';

export const peerProtocolVersion = 12;

type Shape = Readonly<Record<string, Codec<unknown>>>;
interface Entry {
  readonly id: number;
  readonly doc: string;
  readonly fields: Shape;
  /** What the bytes are that travel with the message; none may where this is missing. */
  readonly payload?: string;
  /** It travels as a block run (block-run.ts). Its payload is the handler's only while that runs. */
  readonly inRuns?: true;
}
interface RequestEntry extends Entry {
  readonly reply: Shape;
  readonly replyPayload?: string;
}

/** Who a node is. `incarnation` grows with every start of it. */
const node = { clusterId: bytes(16), nodeId: u53, name: text(256), incarnation: u53 };
export type PeerIdentity = RecordOf<typeof node>;

/** File pages that are no hole. Where they lie is each node's own affair. */
export const mostPageRuns = 65_536;
const pages = list(record('pages', hole), mostPageRuns);
/**
 * What an inode is at its home, but for where its pages lie. One with more runs of pages than a row may have
 * is several rows, one after the other: `goesOn` in all but the last.
 */
const inode = {
  ino: u32,
  generation: u32,
  mode: u32,
  uid: u32,
  gid: u32,
  nlink: u32,
  parent: u32,
  size: u53,
  layoutVersion: u53,
  atimeMs: f64,
  mtimeMs: f64,
  ctimeMs: f64,
  birthtimeMs: f64,
  target: optional(text(maxPathLength)),
  home: u32,
  pages,
  goesOn: bool,
};
export type PeerInode = RecordOf<typeof inode>;

/** A name in a directory; inode 0 when it is gone. */
const name = { parent: u32, name: text(255), ino: u32 };
export type PeerName = RecordOf<typeof name>;

/**
 * A node that keeps files: its number in the cluster is its own for ever. `url` while it can be reached.
 * Bytes that all its files may have, and that one may have while it moves there; whether it has a store.
 */
const keeper = {
  number: u32,
  nodeId: u53,
  name: text(256),
  url: optional(text(1024)),
  memoryBytes: u53,
  capacityBytes: u53,
  isStored: bool,
};
export type Keeper = RecordOf<typeof keeper>;

/** What the home of a file alone decides; the times when it changed them. */
const content = {
  ino: u32,
  generation: u32,
  size: u53,
  mtimeMs: optional(f64),
  ctimeMs: optional(f64),
  pages,
};
export type PeerContent = RecordOf<typeof content>;

/** A file of which the coordinator cannot have what its home says, and why not. */
const refusal = { ino: u32, code: text(32), why: text(1024) };
export type PeerRefusal = RecordOf<typeof refusal>;

export const mostFailures = 16;
const failure = { path: text(maxPathLength), why: text(1024) };
export type PeerFailure = RecordOf<typeof failure>;

const file = { ino: u32, generation: u32 };

/** How often a node has asked for a block of a file; its number is that of the home for clients there. */
const use = { ino: u32, generation: u32, number: u32, blocks: u53 };
export type PeerUse = RecordOf<typeof use>;
/** Blocks of a file, by their indices. */
const blocks = { from: u32, count: u32 };
/** The most that one message names. */
export const mostBlockRuns = 65_536;
export type PeerBlocks = RecordOf<typeof blocks>;

/** How far the peer has received, of the messages of a session of blocks. */
const received = u53;
const stag = bytes(16);
/**
 * Numbers what something is given for, since the answer may be lost with its link. An STag is asked for again
 * under its number, and is the one that was given before; what a guest was given is taken back by it.
 */
const asked = u53;
/** What travels in runs: the layout is in block-run.ts. */
const blockMessage = { number: u53, received, stag, index: u32, message: u16 };

/** What either node asks of the other. Each gets a reply or an error with the same request id. */
export const peerRequests = {
  hello: {
    id: 16,
    doc: 'The first of who connected; the reply is the welcome. `protocol` is first in every version.',
    fields: { protocol: u32, ...node },
    reply: { protocol: u32, ...node },
  },
  probe: {
    id: 17,
    doc: 'Measures a link: bytes go there, and others come back.',
    fields: { serial: u53 },
    payload: 'any bytes',
    reply: { serial: u53 },
    replyPayload: 'any bytes',
  },
  describe: {
    id: 18,
    doc: 'What a node must know before it makes a segment of its own, or goes on with one.',
    fields: {},
    reply: { dataBytes: u53, inodeCount: u32, segmentId: bytes(16), isStored: bool },
  },
  follow: {
    id: 19,
    doc: 'Asks for `changes` after `sequence` of that feed, or for everything. The reply: the last so far.',
    fields: { feed: optional(bytes(16)), sequence: u53 },
    reply: { feed: bytes(16), sequence: u53 },
  },
  guestOpen: {
    id: 20,
    doc: 'A client of the asking node: in its name requests are forwarded from here on.',
    fields: {
      guest: u53,
      uid: u32,
      gids: list(u32, 65_536),
      pid: u32,
      label: text(256),
      access: oneOf('r', 'rw'),
    },
    reply: {},
  },
  forward: {
    id: 21,
    doc: 'A request of a guest, by its id in the table of clients, with its values; the reply likewise.',
    fields: { guest: u53, type: u32, values, asked },
    reply: { values },
  },
  forwardContent: {
    id: 35,
    doc: 'As `forward`: `put` or `attachPages`, with what is in their pages; which ones is for the home.',
    fields: { guest: u53, type: u32, values, asked },
    payload: 'the content, whole pages',
    reply: { values },
  },
  handleOpen: {
    id: 25,
    doc: 'A guest has a file open that this node keeps: the handle is one that the coordinator gave.',
    fields: {
      guest: u53,
      handle: u53,
      ino: u32,
      generation: u32,
      path: text(maxPathLength),
      writable: bool,
    },
    reply: {},
  },
  write: {
    id: 22,
    doc: 'A guest writes into an open file, at its end without an offset.',
    fields: { guest: u53, handle: u53, offset: optional(u53) },
    payload: 'the bytes',
    reply: { offset: u53, size: u53 },
  },
  fill: {
    id: 23,
    doc: 'A guest fills pages that it has reserved, from `page` on.',
    fields: { guest: u53, page: u32 },
    payload: 'the bytes',
    reply: {},
  },
  tagOpen: {
    id: 24,
    doc: 'Asks for an STag, the right to blocks of a file; `take` to be its next home. ESTALE: it is gone.',
    fields: { ...file, mode: oneOf('r', 'rw', 'take'), asked },
    reply: { stag, session: u53 },
  },
  keep: {
    id: 26,
    doc: 'A node that joined keeps files from here on, and is reached there. The number is its own for good.',
    fields: { url: text(1024), memoryBytes: u53, capacityBytes: u53, isStored: bool },
    reply: { number: u32 },
  },
  content: {
    id: 27,
    doc: 'What the asking node did to files that it keeps. Answered when every node knows it, but for these.',
    fields: { files: list(record('content', content), 4096) },
    reply: { refused: list(record('refusal', refusal), 4096) },
  },
  take: {
    id: 28,
    doc: 'The coordinator has a node fetch a file that it is to keep: again, until little is missing.',
    fields: { ...file, move: u53, from: u32 },
    reply: { present: u32, total: u32 },
  },
  give: {
    id: 29,
    doc: 'The coordinator has the home of a file let it go: it stands still there from the answer on.',
    fields: { ...file, move: u53, to: u32 },
    reply: {},
  },
  handOver: {
    id: 30,
    doc: 'The home has the next one fetch the rest, `alone` without copies; `isWritten`: others may store.',
    fields: {
      ...file,
      move: u53,
      session: u53,
      mode: oneOf('r', 'rw'),
      alone: list(record('blocks', blocks), mostBlockRuns),
      isWritten: bool,
      asked,
    },
    reply: { stag },
  },
  empty: {
    id: 32,
    doc: 'The asking node stops: its files go to others; which do not, and why.',
    fields: {},
    reply: { moved: u32, failed: list(record('failure', failure), mostFailures) },
  },
  uses: {
    id: 33,
    doc: 'Which nodes have asked for blocks of the files that this one keeps, since it was asked last.',
    fields: {},
    reply: { files: list(record('use', use), 65_536) },
  },
  moves: {
    id: 31,
    doc: 'Whether the coordinator is still at that move. When not, what the asking node heard before is so.',
    fields: { ino: u32, move: u53 },
    reply: { isMoving: bool },
  },
  flush: {
    id: 34,
    doc: 'Makes durable what was answered: names at the coordinator; a file, or all of them, at their home.',
    fields: { what: oneOf('names', 'file', 'all'), ino: optional(u32) },
    reply: { pages: u53 },
  },
} as const satisfies Record<string, RequestEntry>;

/** What either node says without being answered. */
export const peerEvents = {
  ping: { id: 128, doc: 'Asks for a sign of life; the link answers.', fields: { serial: u53 } },
  pong: { id: 129, doc: 'Answers the ping of that serial.', fields: { serial: u53 } },
  bye: {
    id: 130,
    doc: 'The link is over, and why. Nothing comes after it.',
    fields: { code: text(32), why: text(1024) },
  },
  cancel: {
    id: 131,
    doc: 'Nobody waits for that request any more; it is answered all the same.',
    fields: { request: u53 },
  },
  note: {
    id: 132,
    doc: 'Measures a link: bytes go there.',
    fields: { serial: u53, what: optional(text(256)) },
    payload: 'any bytes',
  },
  changes: {
    id: 133,
    doc: 'A part of a commit, or of everything there is; what `isLast` ends takes effect as one.',
    fields: {
      feed: bytes(16),
      sequence: u53,
      isWhole: bool,
      isLast: bool,
      inodes: list(record('inode', inode), 65_536),
      gone: list(u32, 65_536),
      names: list(record('name', name), 65_536),
    },
  },
  applied: {
    id: 134,
    doc: 'Whoever looks at the asking node sees everything up to that sequence.',
    fields: { sequence: u53 },
  },
  position: {
    id: 153,
    doc: 'How far in the changes the asking node is: it gets blocks of files that it knows as they are.',
    fields: { feed: bytes(16), sequence: u53 },
  },
  guestClose: { id: 135, doc: 'The guest is gone, with all it had open.', fields: { guest: u53 } },
  handleClose: { id: 136, doc: 'A guest is done with a handle.', fields: { guest: u53, handle: u53 } },
  takeBack: {
    id: 152,
    doc: 'What a guest was given under that number goes back: pages that are not used, or a handle.',
    fields: { guest: u53, asked },
  },
  leaving: {
    id: 148,
    doc: 'The node stops, and has given up all blocks: its lease need not be waited for.',
    fields: {},
  },
  happened: {
    id: 145,
    doc: 'Something happened at the home, for who watches at other nodes.',
    fields: { kind: text(32), path: optional(text(maxPathLength)), detail: report },
  },
  keepers: {
    id: 149,
    doc: 'All nodes that keep files, or did.',
    fields: { keepers: list(record('keeper', keeper), 4096) },
  },
  gave: {
    id: 150,
    doc: 'The coordinator gives up to move a file: its home goes on with it, the other forgets it.',
    fields: { ...file, move: u53 },
  },
  unused: {
    id: 151,
    doc: 'A file that has no name any more, and to which nobody refers at its home: it may end.',
    fields: file,
  },
  tagClose: { id: 137, doc: 'The STag is given back; no copy of a block is left.', fields: { stag } },
  tagClosed: {
    id: 146,
    doc: 'Answers `tagClose`, and is said after each welcome until `tagGone`: nothing new names it.',
    fields: { stag },
  },
  tagGone: { id: 147, doc: 'Answers `tagClosed`, once: nobody names it any more.', fields: { stag } },
  blockHello: {
    id: 138,
    doc: 'Opens a session of blocks, or goes on with one over a new link.',
    fields: { hello: u53, session: optional(u53), received },
  },
  blockWelcome: {
    id: 139,
    doc: 'Answers it. `memory` is another one when the home has lost what was not synced.',
    fields: { hello: u53, session: u53, received, memory: text(64) },
  },
  blockPing: {
    id: 140,
    doc: 'Asks for a longer lease. `sentMs` is on the clock of who asks.',
    fields: { session: u53, sentMs: f64, received },
  },
  blockPong: {
    id: 141,
    doc: 'The lease lasts from `sentMs` on.',
    fields: { session: u53, sentMs: f64, received },
  },
  toHome: {
    id: 142,
    doc: 'A message of docs/coherence.md to the directory of block `index` of the file.',
    fields: blockMessage,
    payload: 'the bytes of the block',
    inRuns: true,
  },
  toHolder: {
    id: 143,
    doc: 'A message of docs/coherence.md to the cache of block `index` of the file.',
    fields: blockMessage,
    payload: 'the bytes of the block',
    inRuns: true,
  },
} as const satisfies Record<string, Entry>;

export type PeerRequests = typeof peerRequests;
export type PeerRequestName = keyof PeerRequests;
export type PeerRequest<N extends PeerRequestName> = RecordOf<PeerRequests[N]['fields']>;
export type PeerReply<N extends PeerRequestName> = RecordOf<PeerRequests[N]['reply']>;
export type PeerEvents = typeof peerEvents;
export type PeerEventName = keyof PeerEvents;
export type PeerEvent<N extends PeerEventName> = RecordOf<PeerEvents[N]['fields']>;

const requestById = new Map<number, PeerRequestName>();
const eventById = new Map<number, PeerEventName>();
for (const [name, { id }] of Object.entries(peerRequests)) requestById.set(id, name as PeerRequestName);
for (const [name, { id }] of Object.entries(peerEvents)) eventById.set(id, name as PeerEventName);

export const peerRequestOf = (id: number): PeerRequestName | undefined => requestById.get(id);
export const peerEventOf = (id: number): PeerEventName | undefined => eventById.get(id);

/** Whether bytes come with the request or with its reply: only so many of those are under way. */
export function isBulk(name: PeerRequestName): boolean {
  const entry: RequestEntry = peerRequests[name];
  return entry.payload !== undefined || entry.replyPayload !== undefined;
}
export const mayHavePayload = (entry: Entry): boolean => entry.payload !== undefined;
export const replyMayHavePayload = (name: PeerRequestName): boolean =>
  (peerRequests[name] as RequestEntry).replyPayload !== undefined;

/** Ids of what travels in runs. */
export const runTypes: ReadonlySet<number> = new Set(
  Object.values(peerEvents as Readonly<Record<string, Entry>>).flatMap(({ id, inRuns }) =>
    inRuns ? [id] : [],
  ),
);
