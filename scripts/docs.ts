/**
 * Fills the generated parts of docs/ from the tables in the code, so that a document cannot say something
 * else.
 *
 *   <!-- generated: NAME --> ... <!-- end -->
 *
 * `npm run docs` writes them; test/docs.test.ts fails when one is out of date.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import {
  errorReply,
  events,
  frameLimits,
  protocolVersion,
  requests,
  toMarkdown,
} from '@cluster-fs/transport';
import {
  blockRun,
  peerEvents,
  peerLimitTable,
  peerProtocolVersion,
  peerRequests,
} from '@cluster-fs/transport/peer';
import {
  cacheActions,
  cacheEvents,
  cacheStates,
  cacheTable,
  directoryActions,
  directoryGuards,
  directoryStates,
  directoryTable,
  toCache,
  toDirectory,
} from 'cluster-fs/coherence';
import { layout } from 'cluster-fs/segment';
import { limitTable } from '../packages/node/src/limits.ts';
import { logRecord } from '../packages/node/src/metadata/change-log.ts';
import { inodeRecord } from '../packages/node/src/metadata/inode-record.ts';
import { storeHeader } from '../packages/node/src/store/store-file.ts';
import { farLeaseTable, leaseTable } from '../test/leases/cases.ts';

interface Message {
  readonly id: number;
  readonly doc: string;
  readonly fields: Readonly<Record<string, { readonly type: string }>>;
  readonly reply?: Readonly<Record<string, { readonly type: string }>>;
  readonly connection?: string;
  readonly donates?: string;
  readonly replyDonates?: string;
}

const fieldsOf = (shape: Message['fields'] = {}): string =>
  Object.entries(shape)
    .map(([name, { type }]) => `${name}: ${type.replaceAll('|', '\\|')}`)
    .join(', ') || '-';

const donation = (what: string | undefined): string => (what === undefined ? '' : `; donates ${what}`);

function requestTable(): string {
  const rows = Object.entries(requests as Readonly<Record<string, Message>>).map(
    ([name, m]) =>
      `| ${m.id} | ${name} | ${m.connection} | ${fieldsOf(m.fields)}${donation(m.donates)} | ` +
      `${fieldsOf(m.reply)}${donation(m.replyDonates)} | ${m.doc} |`,
  );
  const head = '| id | request | connection | fields | reply | meaning |';
  return [head, '|--:|---|---|---|---|---|', ...rows].join('\n');
}

function eventTable(): string {
  const rows = Object.entries(events as Readonly<Record<string, Message>>).map(
    ([name, m]) => `| ${m.id} | ${name} | ${fieldsOf(m.fields)} | ${m.doc} |`,
  );
  return ['| id | event | fields | meaning |', '|--:|---|---|---|', ...rows].join('\n');
}

const wireLimitTable = (): string =>
  [
    '| limit | value |',
    '|---|--:|',
    `| protocol version | ${protocolVersion} |`,
    `| frame body | ${frameLimits.frameBytes} bytes |`,
    `| frame body before \`hello\` or \`attach\` is answered | ${frameLimits.firstFrameBytes} bytes |`,
    `| descriptors in a frame | ${frameLimits.frameDescriptors} |`,
    `| bytes queued for a peer that does not read | ${frameLimits.queuedBytes} |`,
  ].join('\n');

/** What a client may take: the table of the node, and what the protocol itself bounds. */
function accessLimitTable(): string {
  const amount = (value: number): string =>
    value === Number.POSITIVE_INFINITY ? 'none' : value.toLocaleString('en');
  const rows = Object.entries(limitTable).map(
    ([name, { default: value, of, code, answer, doc }]) =>
      `| ${name} | ${amount(value)} | ${of} | ${code ?? '-'} | ${answer} | ${doc} |`,
  );
  const fixed = (
    [
      ['frameBytes', 'EPROTO', 'closed', 'bytes of a message'],
      ['firstFrameBytes', 'EPROTO', 'closed', 'bytes of a message before `hello` is answered'],
      ['frameDescriptors', 'EPROTO', 'closed', 'descriptors with a message'],
      ['queuedBytes', 'EPIPE', 'closed', 'bytes that wait for a peer that does not read'],
    ] as const
  ).map(
    ([name, code, answer, doc]) =>
      `| ${name} (fixed) | ${amount(frameLimits[name])} | connection | ${code} | ${answer} | ${doc} |`,
  );
  const head = '| limit | default | of each | code | beyond it | counts |';
  return [head, '|---|--:|---|---|---|---|', ...rows, ...fixed].join('\n');
}

interface PeerMessage {
  readonly id: number;
  readonly doc: string;
  readonly fields: Message['fields'];
  readonly payload?: string;
  readonly reply?: Message['fields'];
  readonly replyPayload?: string;
}

/** A message between nodes: what it carries, and the bytes beside that. */
const carried = (fields: Message['fields'], payload: string | undefined): string =>
  fieldsOf(fields) + (payload === undefined ? '' : `; payload: ${payload}`);

function peerRequestTable(): string {
  const rows = Object.entries(peerRequests as Readonly<Record<string, PeerMessage>>).map(([name, m]) => {
    const reply = carried(m.reply ?? {}, m.replyPayload);
    return `| ${m.id} | ${name} | ${carried(m.fields, m.payload)} | ${reply} | ${m.doc} |`;
  });
  return ['| id | request | fields | reply | meaning |', '|--:|---|---|---|---|', ...rows].join('\n');
}

function peerEventTable(): string {
  const rows = Object.entries(peerEvents as Readonly<Record<string, PeerMessage>>).map(
    ([name, m]) => `| ${m.id} | ${name} | ${carried(m.fields, m.payload)} | ${m.doc} |`,
  );
  return ['| id | event | fields | meaning |', '|--:|---|---|---|', ...rows].join('\n');
}

function peerLimitsTable(): string {
  const rows = Object.entries(peerLimitTable).map(
    ([name, { value, unit, beyond, doc }]) =>
      `| ${name} | ${value.toLocaleString('en')} ${unit} | ${beyond} | ${doc} |`,
  );
  return ['| limit | value | beyond it | counts |', '|---|--:|---|---|', ...rows].join('\n');
}

const wordTable = (words: Readonly<Record<string, string>>, head: string): string =>
  [
    `| ${head} | meaning |`,
    '|---|---|',
    ...Object.entries(words).map(([name, doc]) => `| ${name} | ${doc} |`),
  ].join('\n');

/** State by event: what is done, and the next state; a dot: nothing; a dash: it cannot come. */
function cacheStepTable(): string {
  const events = Object.keys(cacheEvents) as (keyof typeof cacheEvents)[];
  const rows = Object.entries(cacheTable).map(([state, cells]) => {
    const row = events.map((event) => {
      const cell = cells[event];
      if (cell === 'never') return '-';
      const next = cell.next === state ? '' : `→ ${cell.next}`;
      return [cell.actions.join(', '), next].filter((part) => part !== '').join(' ') || '·';
    });
    return `| **${state}** | ${row.join(' | ')} |`;
  });
  return [`| | ${events.join(' | ')} |`, `|---|${'---|'.repeat(events.length)}`, ...rows].join('\n');
}

function directoryStepTable(): string {
  const rows = Object.entries(directoryTable).flatMap(([state, cells]) =>
    Object.entries(cells).flatMap(([event, cell]) => {
      if (cell === 'never') return [];
      return cell.map(({ when = '', next, actions }) => {
        const then = actions.join(', ');
        return `| ${state} | ${event} | ${when} | ${then} | ${next === state ? '' : next} |`;
      });
    }),
  );
  return ['| state | event | if | done | next |', '|---|---|---|---|---|', ...rows].join('\n');
}

/** What each generated part says. */
export const parts: Readonly<Record<string, () => string>> = {
  structs: () => layout.structs.map((s) => toMarkdown(s)).join('\n\n'),
  storeStructs: () => toMarkdown(storeHeader),
  logStructs: () => toMarkdown(logRecord),
  inodeStructs: () => toMarkdown(inodeRecord),
  requests: requestTable,
  events: eventTable,
  limits: wireLimitTable,
  accessLimits: accessLimitTable,
  leases: leaseTable,
  farLeases: farLeaseTable,
  cacheStates: () => wordTable(cacheStates, 'state'),
  cacheActions: () => wordTable(cacheActions, 'action'),
  cacheSteps: cacheStepTable,
  directoryStates: () => wordTable(directoryStates, 'state'),
  directoryGuards: () => wordTable(directoryGuards, 'if'),
  directoryActions: () => wordTable(directoryActions, 'action'),
  directorySteps: directoryStepTable,
  peerVersion: () => `Version ${peerProtocolVersion}.`,
  peerRequests: peerRequestTable,
  peerEvents: peerEventTable,
  peerLimits: peerLimitsTable,
  blockRun: () => toMarkdown(blockRun),
  toDirectory: () => wordTable(toDirectory, 'message'),
  toCache: () => wordTable(toCache, 'message'),
  errors: () => `An error carries: ${fieldsOf(errorReply.fields)}.`,
};

export const documents = [
  'docs/segment-format.md',
  'docs/protocol.md',
  'docs/store.md',
  'docs/security.md',
  'docs/leases.md',
  'docs/coherence.md',
  'docs/peer-protocol.md',
] as const;

/** The text of a document with its generated parts filled anew. */
export function fill(text: string): string {
  return text.replace(/<!-- generated: (\w+) -->[\s\S]*?<!-- end -->/g, (_, name: string) => {
    const part = parts[name];
    if (part === undefined) throw new Error(`no generated part is called ${name}`);
    return `<!-- generated: ${name} -->\n\n${part()}\n\n<!-- end -->`;
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const path of documents) writeFileSync(path, fill(readFileSync(path, 'utf8')));
}
