/** The pages of a host as one user of them has them: the home of its files, or a neighbour's cache. */
import { FsError } from '@cluster-fs/transport';
import type { Memory } from 'cluster-fs/coherence';
import type { MovingNode } from './moving-node.ts';

export interface PageEvents {
  done(block: number, value: number): void;
  /** It goes from the pages in a moment, and is nowhere else here. */
  dropping(block: number, value: number): void;
  installed(block: number): void;
  lost(block: number): void;
}

type Job = 'drop' | 'protect';

export class PageMemory implements Memory<number> {
  readonly #node: MovingNode;
  readonly #events: PageEvents;
  readonly #jobs = new Map<number, Job>();
  readonly #waiters = new Map<number, Set<(error?: FsError) => void>>();

  constructor(node: MovingNode, events: PageEvents) {
    this.#node = node;
    this.#events = events;
  }

  drop(block: number): void {
    this.#begin(block, 'drop');
  }

  protect(block: number): void {
    this.#begin(block, 'protect');
  }

  /** What was begun is not done: the block is somebody else's. */
  cancel(block: number): void {
    this.#jobs.delete(block);
  }

  #begin(block: number, job: Job): void {
    const isUnderWay = this.#jobs.has(block);
    this.#jobs.set(block, job);
    if (!isUnderWay) this.#node.after(this.#node.sim.random.between(0.01, 2), () => this.#perform(block));
  }

  #perform(block: number): void {
    const job = this.#jobs.get(block);
    if (job === undefined) return;
    this.#jobs.delete(block);
    const page = this.#node.host.page(block);
    const { value } = page;
    if (job === 'protect') {
      if (page.access === 'write') page.access = 'read';
    } else {
      this.#events.dropping(block, value);
      this.#node.host.punch(block);
    }
    this.#node.note(`may ${page.access} ${block} from here`);
    this.#events.done(block, value);
  }

  install(block: number, value: number, access: 'read' | 'write'): void {
    const { host, sim } = this.#node;
    Object.assign(host.page(block), { access, value, isAbsent: false });
    this.#node.note(`may ${access} ${block}, which is ${value}`);
    this.#events.installed(block);
    this.#node.publish();
    sim.assertOneWriter(block);
  }

  allow(block: number): void {
    this.#node.host.page(block).access = 'write';
    this.#node.note(`may write ${block}, which it has`);
    this.#node.sim.assertOneWriter(block);
  }

  read(block: number): number {
    return this.#node.host.page(block).value;
  }

  wake(block: number): void {
    this.#node.retry(block);
    this.#settle(block);
  }

  fail(block: number): void {
    this.#node.host.takeWaiting(block);
    this.#settle(block, new FsError('EIO', 'read', { why: 'refused' }));
  }

  lose(block: number): void {
    this.#events.lost(block);
  }

  /** Resolves when something has become of who waits for the block; ETIMEDOUT when that takes too long. */
  changed(block: number, inTime: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error?: FsError): void => {
        if (error === undefined) resolve();
        else reject(error);
      };
      const waiters = this.#waiters.get(block) ?? new Set();
      this.#waiters.set(block, waiters.add(settle));
      const late = (): void => settle(new FsError('ETIMEDOUT', 'read', { why: 'the home does not give it' }));
      if (inTime) this.#node.after(this.#node.sim.patienceMs, () => this.#node.settled(late));
    });
  }

  failRequests(error: FsError): void {
    for (const block of [...this.#waiters.keys()]) this.#settle(block, error);
  }

  #settle(block: number, error?: FsError): void {
    const waiters = this.#waiters.get(block);
    this.#waiters.delete(block);
    for (const settle of waiters ?? []) this.#node.settled(() => settle(error));
  }
}
