/**
 * A disk that loses what was not flushed: made from the calls of a recorder, it gives the files as a loss of
 * power would leave them at any moment.
 *
 * What was written before a flush of its file began is there after the flush. Of the rest each page may have
 * none, all, or the first few of the changes that were made to it, whatever became of the other pages; so may
 * the length of a file, and the names of a directory. That is what POSIX promises, and less than file systems
 * do. What a flush that was refused was to bring to the disk never comes there.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Call } from './recorder.ts';

const page = 4096;

/** What a loss of power may keep or lose, apart from everything else. */
interface Change<T> {
  readonly seq: number;
  /** Changes of one key are kept in their order. */
  readonly key: string | number;
  apply(to: T): void;
}

/** Bytes of a file. */
class Content {
  #bytes = Buffer.alloc(0);
  #size = 0;

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#size);
  }

  copy(): Content {
    const copy = new Content();
    copy.write(0, this.bytes);
    return copy;
  }

  resize(size: number): void {
    if (size > this.#bytes.length) {
      const longer = Buffer.alloc(Math.max(size, 2 * this.#bytes.length));
      this.#bytes.copy(longer, 0, 0, this.#size);
      this.#bytes = longer;
    } else if (size < this.#size) this.#bytes.fill(0, size, this.#size);
    this.#size = size;
  }

  write(offset: number, data: Buffer): void {
    if (offset + data.length > this.#size) this.resize(offset + data.length);
    data.copy(this.#bytes, offset);
  }

  punch(offset: number, length: number): void {
    this.#bytes.fill(0, offset, Math.max(offset, Math.min(this.#size, offset + length)));
  }
}

/** Something that is flushed as a whole: a file, or a directory. */
interface Flushed<T> {
  readonly id: number;
  readonly durable: T;
  /** How many changes are durable, or lost for ever. */
  applied: number;
  pending: Change<T>[];
}

type DiskFile = Flushed<Content>;
type Names = Map<string, DiskFile>;

/** How many of the changes of each group are kept. The groups are in the order of their first changes. */
export type Choice = (groups: readonly (readonly { readonly seq: number }[])[]) => readonly number[];

/** Files by their names. Two of one disk with the same key are equal. */
export interface Image {
  readonly key: string;
  readonly files: ReadonlyMap<string, Buffer>;
}

export class Disk {
  readonly #directory: string;
  readonly #names: Flushed<Names> = { id: 0, durable: new Map(), applied: 0, pending: [] };
  /** The names as the process sees them. */
  readonly #current: Names = new Map();
  readonly #files = new Map<number, DiskFile>();
  /** Flushes that have begun, by thread. */
  readonly #flushes = new Map<number, number>();
  #seq = 0;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The next call of the record. */
  apply(call: Call): void {
    const { kind, ino, path, offset, length, data, thread } = call;
    const seq = ++this.#seq;
    if (kind === 'unknown' || kind === 'rename') throw new Error(`not known to the disk: ${kind} ${data}`);
    if (kind === 'create') this.#create(ino, path);
    else if (kind === 'unlink') this.#name(path, undefined);
    else if (kind === 'flushBegin') this.#flushes.set(thread, seq);
    else if (kind === 'flushEnd') applyBefore(this.#flushed(path, ino), this.#flushes.get(thread) ?? 0);
    else if (kind === 'flushRefused') loseBefore(this.#flushed(path, ino), this.#flushes.get(thread) ?? 0);
    else {
      const file = this.#file(ino, path);
      if (kind === 'truncate')
        file.pending.push({ seq, key: 'size', apply: (content) => content.resize(offset) });
      else if (kind === 'extend')
        file.pending.push({
          seq,
          key: 'size',
          apply: (content) => content.resize(Math.max(content.bytes.length, offset + length)),
        });
      else if (kind === 'write')
        for (const part of pagesOf(offset, data.length)) file.pending.push(writeOf(seq, part, call));
      else
        for (const part of pagesOf(offset, length))
          file.pending.push({ seq, key: part.page, apply: (c) => c.punch(part.offset, part.length) });
    }
  }

  /** What a loss of power leaves now. */
  image(choice: Choice): Image {
    const open = [...this.#files.values(), this.#names].filter(({ pending }) => pending.length > 0);
    const kept = choose(open as Flushed<unknown>[], choice);
    const names = new Map(this.#names.durable);
    for (const change of kept.get(0) ?? []) (change as Change<Names>).apply(names);
    const files = new Map<string, Buffer>();
    const keys: string[] = [];
    for (const [path, file] of [...names].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const changes = (kept.get(file.id) ?? []) as Change<Content>[];
      const content = changes.length === 0 ? file.durable : file.durable.copy();
      for (const change of changes) change.apply(content);
      files.set(path.slice(this.#directory.length + 1), content.bytes);
      keys.push(`${path}=${file.id}:${keyOf(file, changes)}`);
    }
    return { key: keys.join(' '), files };
  }

  #create(ino: number, path: string): void {
    const file = { id: this.#seq, durable: new Content(), applied: 0, pending: [] };
    this.#files.set(ino, file);
    this.#name(path, file);
  }

  #file(ino: number, path: string): DiskFile {
    const file = this.#files.get(ino);
    if (file === undefined) throw new Error(`${path}: nobody has made inode ${ino}`);
    return file;
  }

  #name(path: string, file: DiskFile | undefined): void {
    const apply = (names: Names): unknown =>
      file === undefined ? names.delete(path) : names.set(path, file);
    apply(this.#current);
    this.#names.pending.push({ seq: this.#seq, key: path, apply });
  }

  #flushed(path: string, ino: number): Flushed<unknown> {
    return (path === this.#directory ? this.#names : this.#file(ino, path)) as Flushed<unknown>;
  }
}

function applyBefore<T>(of: Flushed<T>, seq: number): void {
  const done = of.pending.filter((change) => change.seq < seq);
  for (const change of done) change.apply(of.durable);
  of.applied += done.length;
  of.pending = of.pending.filter((change) => change.seq >= seq);
}

function loseBefore<T>(of: Flushed<T>, seq: number): void {
  const left = of.pending.filter((change) => change.seq >= seq);
  of.applied += of.pending.length - left.length;
  of.pending = left;
}

const writeOf = (seq: number, part: Part, { offset, data }: Call): Change<Content> => ({
  seq,
  key: part.page,
  apply: (content) =>
    content.write(part.offset, data.subarray(part.offset - offset, part.offset - offset + part.length)),
});

interface Part {
  readonly page: number;
  readonly offset: number;
  readonly length: number;
}

function* pagesOf(offset: number, length: number): Iterable<Part> {
  for (let at = offset; at < offset + length; ) {
    const next = Math.min((Math.floor(at / page) + 1) * page, offset + length);
    yield { page: Math.floor(at / page), offset: at, length: next - at };
    at = next;
  }
}

/** What is kept of each, in its order. */
function choose(open: readonly Flushed<unknown>[], choice: Choice): Map<number, Change<unknown>[]> {
  const groups = open.flatMap(({ id, pending }) => {
    const byKey = new Map<string | number, Change<unknown>[]>();
    for (const change of pending) byKey.set(change.key, [...(byKey.get(change.key) ?? []), change]);
    return [...byKey.values()].map((changes) => ({ id, changes }));
  });
  const counts = choice(groups.map(({ changes }) => changes));
  const kept = new Map<number, Change<unknown>[]>();
  for (const [i, { id, changes }] of groups.entries())
    kept.set(id, [...(kept.get(id) ?? []), ...changes.slice(0, counts[i])]);
  for (const changes of kept.values()) changes.sort((a, b) => a.seq - b.seq);
  return kept;
}

/** Equal for equal bytes of one file: how many of its changes are there without a gap, and which after it. */
function keyOf<T>({ applied, pending }: Flushed<T>, kept: readonly Change<T>[]): string {
  let end = 0;
  while (end < kept.length && kept[end] === pending[end]) end++;
  const rest = kept.slice(end).map((change) => pending.indexOf(change) + applied);
  return `${applied + end}+${rest.join(',')}`;
}

/** Puts the files of an image into an empty directory. */
export function writeImage(directory: string, { files }: Image): void {
  mkdirSync(directory, { recursive: true });
  for (const [name, bytes] of files) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), bytes, { mode: 0o600 });
  }
}
