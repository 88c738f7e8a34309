/**
 * THE wire table between nodes: every message of a link. docs/peer-protocol.md is generated from it.
 *
 * Both ends speak the same table; the one that connected begins with `hello`. A request carries a request id
 * and gets exactly one reply; an event has no id and no reply. A row says whether the message, or its reply,
 * comes with a *payload*: raw bytes beside the msgpack body. Ids are never reused.
 */
import { bytes, type Codec, optional, type RecordOf, text, u32, u53 } from '../codec.ts';

export const peerProtocolVersion = 1;

type Shape = Readonly<Record<string, Codec<unknown>>>;
interface Entry {
  readonly id: number;
  readonly doc: string;
  readonly fields: Shape;
  /** What the bytes are that travel with the message; none may where this is missing. */
  readonly payload?: string;
}
interface RequestEntry extends Entry {
  readonly reply: Shape;
  readonly replyPayload?: string;
}

/** Who a node is. `incarnation` grows with every start of it. */
const node = { clusterId: bytes(16), nodeId: u53, name: text(256), incarnation: u53 };
export type PeerIdentity = RecordOf<typeof node>;

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
