/**
 * An open file as the node knows it: the number under which the node keeps the inode alive.
 *
 *   open ──the node is started again──▶ unknown ──next request: opened again──▶ open, or ESTALE
 *
 * A node that was started again knows no handles. The file is opened again by its path when it is next
 * needed, and must be the same inode: what was renamed or removed meanwhile, or had no name any more, is
 * ESTALE.
 */
import { constants } from 'node:fs';
import { FsError } from '@cluster-fs/transport';
import { assertSendable, assertWritable, type Context } from './context.ts';
import { throughRestarts } from './term.ts';

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;

/** What open(2) allows of a file: O_RDONLY, O_WRONLY or O_RDWR. */
export const accessOf = (flags: number): number => flags & (O_WRONLY | O_RDWR);

export class NodeHandle {
  readonly path: string;
  readonly flags: number;
  readonly ino: number;
  readonly generation: number;
  readonly #context: Context;
  #number: number;
  #incarnation: number;
  #reopening: Promise<void> | undefined;

  private constructor(
    context: Context,
    how: { path: string; flags: number },
    opened: { handle: number; ino: number; generation: number },
  ) {
    this.#context = context;
    this.path = how.path;
    this.flags = how.flags;
    this.ino = opened.ino;
    this.generation = opened.generation;
    this.#number = opened.handle;
    this.#incarnation = context.backend.incarnation;
  }

  /** Opens a file: one request. */
  static async open(context: Context, path: string, flags: number, mode: number): Promise<NodeHandle> {
    const changes = accessOf(flags) !== O_RDONLY || (flags & (O_CREAT | O_TRUNC)) !== 0;
    if (changes) assertWritable(context, 'open', path);
    else assertSendable(context, 'open', path);
    const bits = mode & 0o7777 & ~context.umask;
    const opened = await context.requests.request('open', { path, flags: flags >>> 0, mode: bits });
    return new NodeHandle(context, { path, flags }, opened);
  }

  /** The number to name in requests; only inside `ask`. */
  get handle(): number {
    return this.#number;
  }

  /** Runs requests about this file, by the number that `handle` has then. */
  ask<T>(request: () => Promise<T>): Promise<T> {
    const { backend } = this.#context;
    return throughRestarts(backend, async () => {
      if (this.#incarnation !== backend.incarnation) await this.#reopenOnce();
      return await request();
    });
  }

  /** Needs no answer. */
  close(): void {
    if (this.#incarnation !== this.#context.backend.incarnation) return;
    this.#context.backend.event('close', { handle: this.#number });
  }

  #reopenOnce(): Promise<void> {
    this.#reopening ??= this.#reopen().finally(() => {
      this.#reopening = undefined;
    });
    return this.#reopening;
  }

  async #reopen(): Promise<void> {
    const { path } = this;
    const flags = (this.flags & ~(O_CREAT | O_EXCL | O_TRUNC)) >>> 0;
    const { backend, requests } = this.#context;
    const { handle, ino, generation } = await requests.request('open', { path, flags, mode: 0 });
    if (ino !== this.ino || generation !== this.generation) {
      backend.event('close', { handle });
      throw new FsError('ESTALE', 'open', {
        path,
        why: 'the node was started again and the path is another file',
      });
    }
    this.#number = handle;
    this.#incarnation = backend.incarnation;
  }
}
