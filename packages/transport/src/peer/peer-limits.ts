/** What a link between two nodes may take, in one table; docs/peer-protocol.md lists it. */

interface Limit {
  readonly value: number;
  readonly unit: 'bytes' | 'ms' | '';
  /** What happens beyond it. */
  readonly beyond: string;
  readonly doc: string;
}

export const peerLimitTable = {
  firstFrameBytes: {
    value: 4096,
    unit: 'bytes',
    beyond: 'closed',
    doc: 'body of a frame before the hello is answered; there is no payload then',
  },
  frameBytes: {
    value: 2 * 1024 * 1024,
    unit: 'bytes',
    beyond: 'EMSGSIZE at the sender; closed with EPROTO',
    doc: 'body of a frame: names and metadata in batches',
  },
  payloadBytes: {
    value: 1024 * 1024,
    unit: 'bytes',
    beyond: 'EMSGSIZE at the sender; closed with EPROTO',
    doc: 'payload of a frame: blocks of a file',
  },
  runBlocks: {
    value: 256,
    unit: '',
    beyond: 'sent in the next frame; closed with EPROTO',
    doc: 'blocks of which one frame says the same',
  },
  handshakeMs: {
    value: 5000,
    unit: 'ms',
    beyond: 'closed with ETIMEDOUT',
    doc: 'from the connection to the answer of the hello',
  },
  pendingHandshakes: {
    value: 256,
    unit: '',
    beyond: 'the oldest is closed',
    doc: 'connections that are not through the handshake yet, of one listener',
  },
  queuedBytes: {
    value: 16 * 1024 * 1024,
    unit: 'bytes',
    beyond: 'requests wait for their turn',
    doc: 'what waits for a peer that does not read',
  },
  hardQueuedBytes: {
    value: 96 * 1024 * 1024,
    unit: 'bytes',
    beyond: 'the link ends with ENOBUFS',
    doc: 'the same with events and replies, which do not wait: above the payloads of all bulk requests',
  },
  bulkRequests: {
    value: 64,
    unit: '',
    beyond: 'those wait for an answer; a peer that sends more is closed with EPROTO',
    doc: 'unanswered requests that have a payload, or whose reply has one',
  },
  pendingRequests: {
    value: 65_536,
    unit: '',
    beyond: 'EAGAIN; a peer that sends more is closed with EPROTO',
    doc: 'unanswered requests, and those that wait for their turn',
  },
  lingerMs: {
    value: 1000,
    unit: 'ms',
    beyond: 'cut off',
    doc: 'for the last words of a link that is closed to leave',
  },
} as const satisfies Record<string, Limit>;

export type PeerLimits = { readonly [K in keyof typeof peerLimitTable]: number };
export const peerLimits = Object.fromEntries(
  Object.entries(peerLimitTable).map(([name, { value }]) => [name, value]),
) as PeerLimits;

/** How a link finds out that its peer is gone. */
export const heartbeatDefaults = { heartbeatMs: 500, deadAfterMs: 3000 } as const;
