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
import { layout } from 'cluster-fs/segment';
import { storeHeader } from '../packages/node/src/store/store-file.ts';

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

const limitTable = (): string =>
  [
    '| limit | value |',
    '|---|--:|',
    `| protocol version | ${protocolVersion} |`,
    `| frame body | ${frameLimits.frameBytes} bytes |`,
    `| descriptors in a frame | ${frameLimits.frameDescriptors} |`,
    `| bytes queued for a peer that does not read | ${frameLimits.queuedBytes} |`,
  ].join('\n');

/** What each generated part says. */
export const parts: Readonly<Record<string, () => string>> = {
  structs: () => layout.structs.map((s) => toMarkdown(s)).join('\n\n'),
  storeStructs: () => toMarkdown(storeHeader),
  requests: requestTable,
  events: eventTable,
  limits: limitTable,
  errors: () => `An error carries: ${fieldsOf(errorReply.fields)}.`,
};

export const documents = ['docs/segment-format.md', 'docs/protocol.md', 'docs/store.md'] as const;

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
