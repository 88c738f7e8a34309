/**
 * The toy file system behind the promise of docs/store.md: what there may be after a loss of power, given
 * what was done, in its order, and what of it was answered.
 *
 *   names and attributes   as after one step, no earlier than the last sync that was answered
 *   content of a file      as after one step, no earlier than its own last sync, and no later than the names;
 *                          or as when it took the name of another file, if the names know of that
 *   never synced           the same, or not there at all, unless it is empty
 */

export interface Entry {
  readonly kind: 'file' | 'directory' | 'symlink';
  /** Of the file, whatever its names are. */
  readonly id: number;
}

/** What there is after a step. */
export interface State {
  readonly names: ReadonlyMap<string, Entry>;
  readonly contents: ReadonlyMap<number, Buffer>;
  readonly modes: ReadonlyMap<number, number>;
}

/** What was found, by path. */
export type Found = ReadonlyMap<string, { readonly kind: Entry['kind']; mode: number; bytes: Buffer }>;

/** Where in the log a step was asked for and answered. */
export interface Step {
  readonly name: string;
  readonly begun: number;
  readonly answered: number;
}

export class FsModel {
  readonly names = new Map<string, Entry>();
  readonly contents = new Map<number, Buffer>();
  readonly modes = new Map<number, number>();
  /** Files whose content came into the store in front of this step. */
  readonly committed = new Set<number>();
  #nextId = 1;

  id(path: string): number {
    const entry = this.names.get(path);
    if (entry === undefined) throw new Error(`the model has no ${path}`);
    return entry.id;
  }

  /** Makes a file, or gives it new content. */
  put(path: string, bytes: Buffer | string): void {
    const id = this.names.get(path)?.id ?? this.#make(path, 'file', 0o644);
    this.contents.set(id, Buffer.from(bytes));
  }

  /** Writes in place, and beyond the end. */
  write(path: string, offset: number, bytes: Buffer | string): void {
    const data = Buffer.from(bytes);
    const before = this.contents.get(this.id(path)) ?? Buffer.alloc(0);
    const after = Buffer.alloc(Math.max(before.length, offset + data.length));
    before.copy(after);
    data.copy(after, offset);
    this.contents.set(this.id(path), after);
  }

  truncate(path: string, size: number): void {
    const after = Buffer.alloc(size);
    (this.contents.get(this.id(path)) as Buffer).copy(after);
    this.contents.set(this.id(path), after);
  }

  mkdir(path: string): void {
    this.#make(path, 'directory', 0o755);
  }

  symlink(target: string, path: string): void {
    this.contents.set(this.#make(path, 'symlink', 0o777), Buffer.from(target));
  }

  link(from: string, to: string): void {
    this.names.set(to, this.names.get(from) as Entry);
  }

  remove(path: string): void {
    for (const name of [...this.names.keys()])
      if (name === path || name.startsWith(`${path}/`)) this.names.delete(name);
  }

  rename(from: string, to: string): void {
    if (this.names.has(to)) this.committed.add(this.id(from));
    this.remove(to);
    for (const [name, entry] of [...this.names]) {
      if (name !== from && !name.startsWith(`${from}/`)) continue;
      this.names.delete(name);
      this.names.set(to + name.slice(from.length), entry);
    }
  }

  chmod(path: string, mode: number): void {
    this.modes.set(this.id(path), mode);
  }

  #make(path: string, kind: Entry['kind'], mode: number): number {
    const id = this.#nextId++;
    this.names.set(path, { kind, id });
    this.modes.set(id, mode);
    if (kind === 'file') this.contents.set(id, Buffer.alloc(0));
    return id;
  }
}

interface Moment extends State, Step {
  readonly committed: ReadonlySet<number>;
  /** Files that are durable when the step is answered, and all names with them; undefined: nothing is. */
  readonly synced: ReadonlySet<number> | undefined;
}

/** What was done, and what may be there after a loss of power at any moment of it. */
export class History {
  readonly #model = new FsModel();
  readonly #moments: Moment[] = [];

  constructor() {
    this.#add({ name: 'the beginning', begun: 0, answered: 0 }, new Set());
  }

  /** A step changes the model; `synced` are paths that are durable when it is answered. */
  step(step: Step, change: (model: FsModel) => void, synced?: 'all' | readonly string[]): void {
    change(this.#model);
    const model = this.#model;
    const ids = synced === 'all' ? [...model.contents.keys()] : synced?.map((path) => model.id(path));
    this.#add(step, ids === undefined ? undefined : new Set(ids));
  }

  /** What was only in memory is gone: files go back to what is stored of them, or away. */
  lose(step: Step): void {
    const at = this.#moments.length - 1;
    const model = this.#model;
    for (const [path, { kind, id }] of [...model.names]) {
      if (kind !== 'file') continue;
      const stored = this.#storedAt(id, { acknowledged: at, names: at });
      if (stored >= 0) model.contents.set(id, this.#moments[stored]?.contents.get(id) as Buffer);
      else if (model.contents.get(id)?.length !== 0) model.names.delete(path);
    }
    this.#add(step, new Set(model.contents.keys()));
  }

  #add(step: Step, synced: ReadonlySet<number> | undefined): void {
    const { names, contents, modes, committed } = this.#model;
    this.#moments.push({
      ...step,
      names: new Map(names),
      contents: new Map(contents),
      modes: new Map(modes),
      committed: new Set(committed),
      synced,
    });
    committed.clear();
  }

  /** The last step whose content of a file is stored for certain; -1 when there is none. */
  #storedAt(id: number, known: { readonly acknowledged: number; readonly names: number }): number {
    let at = -1;
    for (const [i, { synced, committed }] of this.#moments.entries()) {
      if (i <= known.acknowledged && synced?.has(id) === true) at = i;
      // The content is of before the step.
      if (i <= known.names && committed.has(id)) at = Math.max(at, i - 1);
    }
    return at;
  }

  /** What is wrong with what was found after a cut at this place of the log; undefined when nothing is. */
  judge(found: Found, cut: number): string | undefined {
    const acknowledged = this.#moments.findLastIndex(({ answered }) => answered <= cut);
    // A step that had nothing to do was answered where it began.
    const last = Math.max(
      acknowledged,
      this.#moments.findLastIndex(({ begun }) => begun < cut),
    );
    const first = this.#moments.findLastIndex(
      ({ answered, synced }) => answered <= cut && (synced !== undefined || answered === 0),
    );
    let why = '';
    for (let at = last; at >= first; at--) {
      const wrong = this.#compare(found, { names: at, acknowledged });
      if (wrong === undefined) return undefined;
      why += `\n  after '${this.#moments[at]?.name}': ${wrong}`;
    }
    return `what is there is none of these:${why}`;
  }

  #compare(found: Found, known: { names: number; acknowledged: number }): string | undefined {
    const { names, modes, contents } = this.#moments[known.names] as Moment;
    for (const path of found.keys()) if (!names.has(path)) return `${path} is there`;
    for (const [path, { kind, id }] of names) {
      const there = found.get(path);
      if (there === undefined) {
        if (!this.#mayBeGone(id, kind, known)) return `${path} is gone`;
        continue;
      }
      if (there.kind !== kind) return `${path} is a ${there.kind}`;
      if (there.mode !== modes.get(id)) return `${path} has mode ${there.mode.toString(8)}`;
      if (kind === 'symlink' && !there.bytes.equals(contents.get(id) as Buffer)) return `${path} leads away`;
      const from = Math.max(0, this.#storedAt(id, known));
      const may = this.#moments.slice(from, known.names + 1).map((moment) => moment.contents.get(id));
      if (kind === 'file' && !may.some((bytes) => bytes?.equals(there.bytes) === true))
        return `${path} has ${there.bytes.length} other bytes, from '${this.#moments[from]?.name}' on`;
    }
    return undefined;
  }

  #mayBeGone(id: number, kind: Entry['kind'], known: { names: number; acknowledged: number }): boolean {
    if (kind !== 'file' || this.#storedAt(id, known) >= 0) return false;
    return this.#moments
      .slice(0, known.names + 1)
      .some(({ contents }) => (contents.get(id)?.length ?? 0) > 0);
  }
}
