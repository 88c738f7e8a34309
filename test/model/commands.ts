/**
 * The operations that are tried: for each, what arguments it takes, and what it does to the model and to a
 * real filesystem. Names are few, so that operations meet on the same files.
 *
 * Paths start with /top. A link may lead one level up from where it is, never more, so nothing a sequence
 * does leaves the sandbox: above /top only plain files can be made.
 */
import type { Stats } from 'node:fs';
import fc from 'fast-check';
import { type Command, command, type ModelWorld, noHandle, type RealWorld, slot } from './command.ts';
import * as tree from './fs-model.ts';
import { looks, ranges } from './sparse-commands.ts';

export type Operation = readonly [name: string, args: Readonly<Record<string, unknown>>];

const name = fc.constantFrom('a', 'b', 'c');
const often = <T>(usual: T, rare: T) =>
  fc.oneof({ weight: 20, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constant(rare) });
const below = (depth: number) => fc.array(name, { minLength: depth, maxLength: depth });
const path = fc
  .record({
    dot: often('', './'),
    names: fc.oneof(
      { weight: 4, arbitrary: below(1) },
      { weight: 4, arbitrary: below(2) },
      { weight: 1, arbitrary: below(3) },
    ),
    end: often('', '/'),
  })
  .map(({ dot, names, end }) => `/top/${dot}${names.join('/')}${end}`);
const target = fc.oneof(
  path,
  fc.array(name, { minLength: 1, maxLength: 2 }).map((names) => names.join('/')),
  name.map((each) => `../${each}`),
  fc.constantFrom('.', 'a/', '/top'),
);
const flag = fc.constantFrom('r', 'r+', 'w', 'w+', 'wx', 'wx+', 'a', 'a+', 'ax');
const length = fc.constantFrom(0, 1, 3, 100, 4096, 5000);
const offset = fc.constantFrom(0, 1, 10, 4095, 4096, 9000);
const position = fc.option(offset, { nil: undefined });
const letter = fc.constantFrom('p', 'q', 'r', 's');
const seconds = fc.integer({ min: 1000, max: 1005 });

const bytesOf = (letters: string, count: number) => Buffer.alloc(count, letters);

/** Content in runs, so that a difference can be read: `p*5000 0*3`. */
function runs(bytes: Uint8Array): string {
  const found: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const byte = bytes[at] ?? 0;
    let end = at + 1;
    while (bytes[end] === byte) end++;
    found.push(`${byte === 0 ? '0' : String.fromCharCode(byte)}*${end - at}`);
    at = end;
  }
  return found.join(' ');
}

function told(stats: Stats) {
  const kind = stats.isDirectory() ? 'directory' : stats.isSymbolicLink() ? 'link' : 'file';
  const mtime = stats.mtimeMs > 1e12 ? 'now' : stats.mtimeMs / 1000;
  // The size of a directory means something else everywhere; that of a link depends on where the sandbox is.
  const size = kind === 'file' ? stats.size : 0;
  return { kind, nlink: stats.nlink, mode: stats.mode & 0o7777, mtime, size };
}

const at = (world: RealWorld, given: string) => `${world.root}${given}`;
const inSandbox = (world: RealWorld, given: string) => (given.startsWith('/') ? at(world, given) : given);
const outOfSandbox = (world: RealWorld, given: string) =>
  given.startsWith(`${world.root}/`) ? given.slice(world.root.length) : given;

const writeFile = command<{ path: string; letter: string; length: number; flag: string }>({
  weight: 6,
  args: { path, letter, length, flag: fc.constantFrom('w', 'w', 'wx', 'a', 'ax', 'r+') },
  model({ model }, args) {
    tree.write(model, tree.open(model, args.path, args.flag), bytesOf(args.letter, args.length), undefined);
  },
  real: (world, args) =>
    world.fs.writeFile(at(world, args.path), bytesOf(args.letter, args.length), { flag: args.flag }),
});

const appendFile = command<{ path: string; letter: string; length: number }>({
  weight: 2,
  args: { path, letter, length },
  model({ model }, args) {
    tree.write(model, tree.open(model, args.path, 'a'), bytesOf(args.letter, args.length), undefined);
  },
  real: (world, args) => world.fs.appendFile(at(world, args.path), bytesOf(args.letter, args.length)),
});

const readFile = command<{ path: string }>({
  weight: 2,
  args: { path },
  model: ({ model }, args) =>
    runs(tree.read(tree.open(model, args.path, 'r'), Number.MAX_SAFE_INTEGER, undefined)),
  real: async (world, args) => runs(await world.fs.readFile(at(world, args.path))),
});

const truncate = command<{ path: string; size: number }>({
  weight: 3,
  args: { path, size: offset },
  model: ({ model }, args) => tree.truncateHandle(model, tree.open(model, args.path, 'r+'), args.size),
  real: (world, args) => world.fs.truncate(at(world, args.path), args.size),
});

const mkdir = command<{ path: string }>({
  weight: 5,
  args: { path },
  model: ({ model }, args) => tree.mkdir(model, args.path),
  real: (world, args) => world.fs.mkdir(at(world, args.path)),
});

const rmdir = command<{ path: string }>({
  weight: 3,
  args: { path },
  model: ({ model }, args) => tree.rmdir(model, args.path),
  real: (world, args) => world.fs.rmdir(at(world, args.path)),
});

const unlink = command<{ path: string }>({
  weight: 3,
  args: { path },
  model: ({ model }, args) => tree.unlink(model, args.path),
  real: (world, args) => world.fs.unlink(at(world, args.path)),
});

const rename = command<{ from: string; to: string }>({
  weight: 10,
  args: { from: path, to: path },
  model: ({ model }, args) => tree.rename(model, args.from, args.to),
  real: (world, args) => world.fs.rename(at(world, args.from), at(world, args.to)),
});

const link = command<{ from: string; to: string }>({
  weight: 4,
  args: { from: path, to: path },
  model: ({ model }, args) => tree.link(model, args.from, args.to),
  real: (world, args) => world.fs.link(at(world, args.from), at(world, args.to)),
});

const symlink = command<{ target: string; path: string }>({
  weight: 3,
  args: { target, path },
  model: ({ model }, args) => tree.symlink(model, args.target, args.path),
  real: (world, args) => world.fs.symlink(inSandbox(world, args.target), at(world, args.path)),
});

const readlink = command<{ path: string }>({
  weight: 1,
  args: { path },
  model: ({ model }, args) => tree.readlink(model, args.path),
  real: async (world, args) => outOfSandbox(world, await world.fs.readlink(at(world, args.path))),
});

const realpath = command<{ path: string }>({
  weight: 1,
  args: { path },
  model: ({ model }, args) => tree.realpath(model, args.path),
  real: async (world, args) => outOfSandbox(world, await world.fs.realpath(at(world, args.path))),
});

const readdir = command<{ path: string }>({
  weight: 1,
  args: { path },
  model: ({ model }, args) => tree.readdir(model, args.path).sort(),
  async real(world, args) {
    const entries = await world.fs.readdir(at(world, args.path), { withFileTypes: true });
    const kindOf = (entry: (typeof entries)[number]) =>
      entry.isDirectory() ? 'directory' : entry.isSymbolicLink() ? 'link' : 'file';
    return entries.map((entry) => `${entry.name} ${kindOf(entry)}`).sort();
  },
});

const stat = command<{ path: string }>({
  weight: 2,
  args: { path },
  model: ({ model }, args) => tree.stat(model, args.path),
  real: async (world, args) => told(await world.fs.stat(at(world, args.path))),
});

const lstat = command<{ path: string }>({
  weight: 1,
  args: { path },
  model: ({ model }, args) => tree.lstat(model, args.path),
  real: async (world, args) => told(await world.fs.lstat(at(world, args.path))),
});

const isSame = command<{ one: string; two: string }>({
  weight: 1,
  args: { one: path, two: path },
  model: ({ model }, args) => tree.isSame(model, args.one, args.two),
  async real(world, args) {
    const one = await world.fs.stat(at(world, args.one));
    return one.ino === (await world.fs.stat(at(world, args.two))).ino;
  },
});

const chmod = command<{ path: string; mode: number }>({
  weight: 1,
  args: { path, mode: fc.constantFrom(0o700, 0o755, 0o770) },
  model: ({ model }, args) => tree.chmod(model, args.path, args.mode),
  real: (world, args) => world.fs.chmod(at(world, args.path), args.mode),
});

const utimes = command<{ path: string; seconds: number }>({
  weight: 3,
  args: { path: fc.oneof(fc.constant('/top'), path), seconds },
  model: ({ model }, args) => tree.utimes(model, args.path, args.seconds),
  real: (world, args) => world.fs.utimes(at(world, args.path), args.seconds, args.seconds),
});

/** A directory is not copied: libuv notices it only after it has made the copy, and then removes that. */
const copyFile = command<{ from: string; to: string; exclusive: boolean }>({
  weight: 2,
  args: { from: path, to: path, exclusive: fc.boolean() },
  model({ model }, args) {
    if (tree.stat(model, args.from).kind === 'directory') return 'a directory';
    return tree.copyFile(model, args.from, args.to, args.exclusive);
  },
  async real(world, args) {
    const from = at(world, args.from);
    if ((await world.fs.stat(from)).isDirectory()) return 'a directory';
    return world.fs.copyFile(from, at(world, args.to), args.exclusive ? 1 : 0);
  },
});

const rm = command<{ path: string; recursive: boolean; force: boolean }>({
  weight: 2,
  // A slash after the last name is read differently by every version of node's rm.
  args: { path: path.map((each) => each.replace(/\/$/, '')), recursive: fc.boolean(), force: fc.boolean() },
  model: ({ model }, { path: from, ...options }) => tree.rm(model, from, options),
  real: (world, { path: from, ...options }) => world.fs.rm(at(world, from), options),
});

const open = command<{ slot: number; path: string; flag: string }>({
  weight: 6,
  args: { slot, path, flag },
  model(world, args) {
    world.handles.delete(args.slot);
    world.handles.set(args.slot, tree.open(world.model, args.path, args.flag));
  },
  async real(world, args) {
    await world.handles.get(args.slot)?.close();
    world.handles.delete(args.slot);
    world.handles.set(args.slot, await world.fs.open(at(world, args.path), args.flag));
  },
});

const close = command<{ slot: number }>({
  weight: 1,
  args: { slot },
  model: (world, args) => (world.handles.delete(args.slot) ? undefined : noHandle),
  async real(world, args) {
    const handle = world.handles.get(args.slot);
    world.handles.delete(args.slot);
    return handle === undefined ? noHandle : handle.close();
  },
});

const read = command<{ slot: number; length: number; position: number | undefined }>({
  weight: 4,
  args: { slot, length, position },
  model({ handles }, args) {
    const handle = handles.get(args.slot);
    if (handle === undefined) return noHandle;
    // Node answers for nothing itself, whatever the handle may do.
    return args.length === 0 ? '' : runs(tree.read(handle, args.length, args.position));
  },
  async real({ handles }, args) {
    const room = Buffer.alloc(args.length);
    const result = await handles.get(args.slot)?.read(room, 0, args.length, args.position ?? null);
    return result === undefined ? noHandle : runs(room.subarray(0, result.bytesRead));
  },
});

const write = command<{ slot: number; letter: string; length: number; position: number | undefined }>({
  weight: 6,
  args: { slot, letter, length, position },
  model({ model, handles }, args) {
    const handle = handles.get(args.slot);
    const data = bytesOf(args.letter, args.length);
    if (handle === undefined) return noHandle;
    return args.length === 0 ? 0 : tree.write(model, handle, data, args.position);
  },
  async real({ handles }, args) {
    const data = bytesOf(args.letter, args.length);
    const result = await handles.get(args.slot)?.write(data, 0, args.length, args.position ?? null);
    return result === undefined ? noHandle : result.bytesWritten;
  },
});

const truncateHandle = command<{ slot: number; size: number }>({
  weight: 2,
  args: { slot, size: offset },
  model({ model, handles }, args) {
    const handle = handles.get(args.slot);
    return handle === undefined ? noHandle : tree.truncateHandle(model, handle, args.size);
  },
  async real({ handles }, args) {
    const handle = handles.get(args.slot);
    return handle === undefined ? noHandle : handle.truncate(args.size);
  },
});

const statHandle = command<{ slot: number }>({
  weight: 2,
  args: { slot },
  model({ handles }, args) {
    const handle = handles.get(args.slot);
    return handle === undefined ? noHandle : tree.statOf(handle.inode);
  },
  async real({ handles }, args) {
    const handle = handles.get(args.slot);
    return handle === undefined ? noHandle : told(await handle.stat());
  },
});

type Table = Readonly<Record<string, Command<Record<string, unknown>>>>;

const commands: Table = {
  ...{ writeFile, appendFile, readFile, truncate, mkdir, rmdir, unlink, rename, link, symlink, readlink },
  ...{ realpath, readdir, stat, lstat, isSame, chmod, utimes, copyFile, rm },
  ...{ open, close, read, write, truncateHandle, statHandle, ...ranges },
};

/** Operations out of a table. */
export const operationOf = (table: Table): fc.Arbitrary<Operation> =>
  fc.oneof(
    ...Object.entries(table).map(([called, { weight, args }]) => ({
      weight,
      arbitrary: fc.tuple(fc.constant(called), fc.record(args)),
    })),
  );

/** Trees to begin with, so that not every sequence spends itself on building one. */
const beginnings: readonly (readonly Operation[])[] = [
  [],
  [
    ['mkdir', { path: '/top/a' }],
    ['mkdir', { path: '/top/a/b' }],
    ['writeFile', { path: '/top/a/c', letter: 'p', length: 5000, flag: 'w' }],
    ['writeFile', { path: '/top/b', letter: 'q', length: 100, flag: 'w' }],
    ['open', { slot: 0, path: '/top/b', flag: 'r+' }],
    ['open', { slot: 1, path: '/top/a/c', flag: 'a+' }],
  ],
  [
    ['mkdir', { path: '/top/a' }],
    ['mkdir', { path: '/top/b' }],
    ['mkdir', { path: '/top/a/a' }],
    ['writeFile', { path: '/top/c', letter: 'r', length: 4096, flag: 'w' }],
    ['link', { from: '/top/c', to: '/top/a/c' }],
    ['link', { from: '/top/c', to: '/top/b/a' }],
    ['symlink', { target: 'a', path: '/top/b/b' }],
    ['symlink', { target: '../a', path: '/top/b/c' }],
    ['open', { slot: 0, path: '/top/c', flag: 'w+' }],
  ],
];

export const sequence: fc.Arbitrary<Operation[]> = fc
  .tuple(
    fc.constantFrom(...beginnings),
    fc.array(operationOf(commands), { minLength: 1, maxLength: 60, size: 'max' }),
  )
  .map(([beginning, operations]) => [...beginning, ...operations]);

const data = fc.constantFrom('p', 'q');
const place = fc.constantFrom(0, 1, 4095, 4096, 8192, 9000, 20_000);
const amount = fc.constantFrom(1, 100, 4096, 5000, 12_288);

const changes = {
  write: { ...write, args: { slot, letter: data, length: amount, position: place } },
  truncateHandle: { ...truncateHandle, args: { slot, size: place } },
  ...ranges,
};

const onOneFile = (table: Table): fc.Arbitrary<Operation[]> =>
  fc
    .array(operationOf(table), { minLength: 1, maxLength: 30, size: 'max' })
    .map((operations) => [
      ['open', { slot: 0, path: '/top/a', flag: 'w+' }],
      ['open', { slot: 1, path: '/top/a', flag: 'r+' }],
      ...operations,
    ]);

/** What changes where one file has pages, and what looks for them; by two handles on it. */
export const sparseSequence = onOneFile({ ...changes, ...looks });
/** The same without looking: for a file whose holes are filled, because somebody maps it to write. */
export const filledSequence = onOneFile(changes);

export type Outcome = { readonly result: unknown } | { readonly error: string };

export function onModel(world: ModelWorld, [called, args]: Operation): Outcome {
  try {
    return { result: row(called).model(world, args) };
  } catch (error) {
    if (!(error instanceof tree.Errno)) throw error;
    return { error: error.code };
  }
}

export async function onReal(world: RealWorld, [called, args]: Operation): Promise<Outcome> {
  try {
    return { result: await row(called).real(world, args) };
  } catch (error) {
    return { error: (error as NodeJS.ErrnoException).code ?? String(error) };
  }
}

function row(called: string): Command<Record<string, unknown>> {
  const found = commands[called] ?? looks[called];
  if (found === undefined) throw new Error(`no command is called ${called}`);
  return found;
}
