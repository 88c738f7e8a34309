/**
 * fs.watch over the node's events, and the iterator of fs.promises.watch.
 *
 * Names that appear, go or change place are 'rename'; content and attributes are 'change', as inotify has it.
 * What the node does below the content (a move, a defragmentation) is no change of the file and is not shown.
 */
import { EventEmitter } from 'node:events';
import { posix } from 'node:path';
import { type Event, FsError } from '@cluster-fs/transport';
import { InodeCopy, isDirectory } from '../segment/index.ts';
import { abortError, throwIfAborted } from './argument-errors.ts';
import { booleanOf, encoded, type Options, objectOf, optionsOf, pathOf } from './arguments.ts';
import type { Context } from './context.ts';
import { realPath } from './real-path.ts';

export type WatchEvent = 'rename' | 'change';

export const limits = {
  /** Events that wait for a reader of fs.promises.watch: beyond them the oldest is dropped. */
  waitingEvents: 65_536,
} as const;

const eventOf: Readonly<Record<string, WatchEvent>> = {
  create: 'rename',
  remove: 'rename',
  rename: 'rename',
  modify: 'change',
  attributes: 'change',
  replace: 'change',
};

interface Watched {
  /** Real path of the file or directory. */
  readonly path: string;
  readonly directory: boolean;
  readonly recursive: boolean;
}

function watchedAt(context: Context, path: string, recursive: boolean): Watched {
  try {
    const real = realPath(context, path, 'watch');
    const inode = new InodeCopy();
    const directory = context.paths.resolve(real, 'watch', inode) && isDirectory(inode.mode);
    return { path: real, directory, recursive };
  } catch (error) {
    throw error instanceof FsError ? Object.assign(error, { filename: path }) : error;
  }
}

/** The name by which a watcher hears of `path`; undefined when it does not. */
function nameIn({ path: root, directory, recursive }: Watched, path: string): string | undefined {
  if (path === root) return posix.basename(root);
  if (!directory || !path.startsWith(root === '/' ? '/' : `${root}/`)) return undefined;
  const name = path.slice(root === '/' ? 1 : root.length + 1);
  return recursive || !name.includes('/') ? name : undefined;
}

/**
 * Calls `tell` for what an event of the node means to the watcher: nothing, one thing, or for a rename two.
 */
function translate(
  watched: Watched,
  { kind, path, detail }: Event<'event'>,
  tell: (e: WatchEvent, name: string) => void,
) {
  const event = Object.hasOwn(eventOf, kind) ? eventOf[kind] : undefined;
  if (event === undefined) return;
  const to = kind === 'rename' ? (detail as { to?: unknown } | null)?.to : undefined;
  for (const each of [path, to]) {
    const name = typeof each === 'string' ? nameIn(watched, posix.resolve('/', each)) : undefined;
    if (name !== undefined) tell(event, name);
  }
}

/**
 * What fs.watch returns: 'change' (eventType, filename), 'error' and 'close'. It is an EventEmitter because
 * node's is. What happens before the node has taken note of the watcher, some hundred microseconds after the
 * call, is not told.
 */
export class FSWatcher extends EventEmitter {
  #stop: (() => void) | undefined;
  #closed = false;

  constructor(context: Context, watched: Watched, encoding: Options['encoding']) {
    super();
    const tell = (event: WatchEvent, name: string): void => {
      if (!this.#closed) this.emit('change', event, encoded(name, encoding));
    };
    context.requests
      .subscribe(watched.path, (event) => translate(watched, event, tell))
      .then(
        (stop) => {
          if (this.#closed) stop();
          else this.#stop = stop;
        },
        (error: unknown) => {
          if (!this.#closed) this.emit('error', error);
        },
      );
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop?.();
    process.nextTick(() => this.emit('close'));
  }

  /**
   * A watcher keeps the process alive until it is closed; this does nothing, and is there for node's
   * interface.
   */
  ref(): this {
    return this;
  }
  /** Does nothing, see `ref`. */
  unref(): this {
    return this;
  }
}

/** fs.watch(path, options, listener). Throws ENOENT at once. `persistent` is not heeded. */
export function watch(context: Context, path: unknown, options?: unknown, listener?: unknown): FSWatcher {
  const given = optionsOf(options);
  const told = typeof options === 'function' ? options : listener;
  const recursive = booleanOf(given.recursive ?? false, 'options.recursive');
  const watcher = new FSWatcher(context, watchedAt(context, pathOf(path), recursive), given.encoding);
  if (typeof told === 'function')
    watcher.on('change', told as (event: WatchEvent, name: string | Buffer) => void);
  const { signal } = given;
  if (signal !== undefined) {
    const close = (): void => watcher.close();
    if (signal.aborted) process.nextTick(close);
    else signal.addEventListener('abort', close, { once: true });
    watcher.once('close', () => signal.removeEventListener('abort', close));
  }
  return watcher;
}

/** fs.promises.watch: every event since the iteration began, until the signal aborts it. */
export async function* watchEvents(
  context: Context,
  path: unknown,
  options?: unknown,
): AsyncGenerator<{ eventType: WatchEvent; filename: string | Buffer }, undefined> {
  const from = pathOf(path);
  const { recursive = false, encoding, signal } = optionsOf(objectOf(options));
  booleanOf(recursive, 'options.recursive');
  throwIfAborted(signal);
  const watched = watchedAt(context, from, recursive === true);
  const waiting: { eventType: WatchEvent; filename: string | Buffer }[] = [];
  let wake: () => void = () => undefined;
  const stop = await context.requests.subscribe(watched.path, (event) => {
    translate(watched, event, (eventType, name) => {
      if (waiting.length === limits.waitingEvents) waiting.shift();
      waiting.push({ eventType, filename: encoded(name, encoding) });
    });
    wake();
  });
  const abort = (): void => wake();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    for (;;) {
      if (signal?.aborted === true) throw abortError(signal);
      const next = waiting.shift();
      if (next !== undefined) yield next;
      else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    stop();
    signal?.removeEventListener('abort', abort);
  }
}
