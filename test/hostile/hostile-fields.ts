/**
 * Fields that pass the wire table and mean harm: for each type of the table the values at its edges, and a
 * few that name what others have. Taken from the table itself, so a new message is attacked without a
 * change here.
 */
import { type Codec, type RequestName, requests } from '@cluster-fs/transport';
import fc from 'fast-check';

type Fields = Readonly<Record<string, Codec<unknown>>>;

/** Numbers of views, handles, grants and sessions are small and can be guessed. */
const epochs = [1, 2].map((epoch) => epoch * 2 ** 32);
const guessable = fc.tuple(fc.constantFrom(...epochs), fc.nat(40)).map(([epoch, n]) => epoch + n);

const u32 = fc.oneof(fc.nat(300), fc.constantFrom(0, 1, 4095, 4096, 2 ** 31, 2 ** 32 - 1));
const u53 = fc.oneof(
  guessable,
  fc.nat(300),
  fc.nat(300).map((page) => page * 4096),
  fc.constantFrom(2 ** 32, 2 ** 44, 2 ** 47, 2 ** 47 - 4096, 2 ** 53 - 4096, 2 ** 53 - 1),
);
/**
 * Below a directory of their own: what a client of the same user may do to files of others is not the
 * question.
 */
const names = [
  '',
  '/a',
  '/b',
  '/a/b',
  '/missing/x',
  `/${'n'.repeat(300)}`,
  '/\0',
  '/\ud800',
  '/.',
  '/..',
  '/../hostile',
  '/a/',
];
const path = fc.oneof(
  fc.constantFrom(...names).map((name) => `/hostile${name}`),
  fc.constantFrom('', 'relative', '/witness/0/x', '/'.repeat(4096), `/hostile/${'a/'.repeat(500)}`),
);

const byType: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  u32,
  u53,
  bool: fc.boolean(),
  report: fc.constantFrom<unknown>(null, [], {}, 'x', -1),
  f64: fc.constantFrom(0, -1, 1e300, -1e300, 0.5, Number.MIN_VALUE),
  guess: fc.record({ ino: u32, generation: u32, layoutVersion: u53, address: u53, length: u53 }),
};

const run = fc.record({ page: u32, count: u32 });
const extent = fc.record({ filePage: u32, page: u32, count: u32 });
const hole = fc.record({ filePage: u32, count: u32 });

/** As long as the table admits: what it does not admit costs the connection, which is another test. */
const textOf = (longest: number) => path.filter((text) => text.length <= longest);

function valueFor({ type }: Codec<unknown>): fc.Arbitrary<unknown> {
  if (type.endsWith('?'))
    return fc.option(valueFor({ type: type.slice(0, -1) } as Codec<unknown>), { nil: undefined });
  const known = byType[type];
  if (known !== undefined) return known;
  if (type.startsWith('text(')) return textOf(Number.parseInt(type.slice(5), 10));
  if (type.startsWith("'"))
    return fc.constantFrom(...[...type.matchAll(/'([^']+)'/g)].map(([, word]) => word));
  if (type.startsWith('bytes(')) return fc.constant(new Uint8Array(Number.parseInt(type.slice(6), 10)));
  if (type.startsWith('run[')) return fc.array(run, { maxLength: 4 });
  if (type.startsWith('hole[')) return fc.array(hole, { maxLength: 4 });
  if (type.startsWith('extent[')) return fc.array(extent, { maxLength: 4 });
  if (type.startsWith('u53[')) return fc.array(u53, { maxLength: 4 });
  throw new Error(`no hostile values for fields of type ${type}`);
}

export const hostileFields = (fields: Fields): fc.Arbitrary<Record<string, unknown>> =>
  fc.record(Object.fromEntries(Object.entries(fields).map(([name, codec]) => [name, valueFor(codec)])));

export interface Lie {
  readonly name: RequestName;
  readonly fields: Readonly<Record<string, unknown>>;
  /** Which number of something that is there to lie about. */
  readonly pick: number;
}

/** Any request but the one that ends other sessions, which the owner of a node may. */
export const hostileRequest: fc.Arbitrary<Lie> = fc
  .constantFrom(...(Object.keys(requests) as RequestName[]))
  .filter((name) => name !== 'revoke')
  .chain((name) =>
    fc.record({ name: fc.constant(name), fields: hostileFields(requests[name].fields), pick: fc.nat() }),
  );

/** Numbers that replies have named, so that half of the lies are about something that is there. */
export class KnownNumbers {
  readonly #known: number[] = [];

  learn(reply: unknown): void {
    for (const name of ['view', 'handle', 'grant'] as const) {
      const number = (reply as Record<string, unknown>)[name];
      if (typeof number === 'number') this.#known.push(number);
    }
  }

  use(fields: Readonly<Record<string, unknown>>, pick: number): Record<string, unknown> {
    const number = this.#known[(pick >>> 1) % this.#known.length];
    if (pick % 2 === 0 || number === undefined) return fields;
    const named = ['view', 'handle', 'grant'].filter((name) => fields[name] !== undefined);
    return { ...fields, ...Object.fromEntries(named.map((name) => [name, number])) };
  }
}
