/**
 * The open views, as the session worker knows them: which pages are under each, and what the node says of
 * them.
 *
 * Remaps that arrive together are applied as one: after a pause (SIGSTOP) no view passes through places that
 * the file has left again.
 */
import type { Connection, Event, Extent } from '@cluster-fs/transport';
import {
  abandonMapping,
  applyExtents,
  changesBetween,
  disarm,
  type Mapping,
  replaceExtents,
  resumeMapping,
  unmapMapping,
} from './mapping.ts';
import { type MapOptions, type ToMain, viewState } from './worker-protocol.ts';

/** An open view, as this thread knows it. */
export interface OpenView {
  readonly key: number;
  readonly mapping: Mapping;
  readonly options: MapOptions;
  readonly ino: number;
  readonly generation: number;
  readonly state: Float64Array;
  /** The node's number for it. */
  id: number;
  extents: readonly Extent[];
  /** Nothing of the segment is under it any more, and the node does not know it. */
  isStale: boolean;
}

export interface OpenViewsOptions {
  readonly userfault: number | undefined;
  /** The descriptor of the data that there is now. */
  readonly dataFd: () => number;
  /** Tells the node; lost when it is away. */
  readonly say: Connection['event'];
  readonly tell: (message: ToMain) => void;
  /** Other pages are under a view than before. */
  readonly shown: (view: OpenView) => void;
}

interface Closing {
  /** For arrays that cannot be taken back. */
  readonly keepAddresses: boolean;
  readonly release: (view: number) => Promise<unknown>;
}

export class OpenViews {
  readonly #options: OpenViewsOptions;
  readonly #byKey = new Map<number, OpenView>();
  /** By the node's number; a remap names it. */
  readonly #byId = new Map<number, OpenView>();
  #remaps: Event<'remap'>[] = [];
  #recalls: Event<'recall'>[] = [];
  #changes: Event<'changed'>[] = [];
  #nextKey = 1;
  /** Leases and numbers asked for and not here yet: a remap may overtake the view that it is for. */
  #leasing = 0;
  #hasEnded = false;

  constructor(options: OpenViewsOptions) {
    this.#options = options;
  }

  /** Also while it is looped over, views come and go. */
  get all(): Iterable<OpenView> {
    return this.#byKey.values();
  }

  get(key: number): OpenView | undefined {
    return this.#byKey.get(key);
  }

  add(view: Omit<OpenView, 'key' | 'isStale'>): OpenView {
    const open: OpenView = { ...view, key: this.#nextKey++, isStale: false };
    this.#byKey.set(open.key, open);
    this.#byId.set(open.id, open);
    return open;
  }

  /**
   * Nobody else gets the addresses before the node knows that they are not the view's any more: it would arm
   * what lies there then, a view of another mount or memory of the program. `release` tells it; rejects when
   * it is gone.
   */
  close(view: OpenView, { keepAddresses, release }: Closing): void {
    const { key, id, mapping } = view;
    const { userfault } = this.#options;
    this.#byKey.delete(key);
    this.#byId.delete(id);
    abandonMapping(mapping, { isUsed: keepAddresses });
    const free = (): void => {
      if (!keepAddresses) unmapMapping(mapping);
      else if (userfault !== undefined && !this.#hasEnded) disarm(mapping, userfault);
    };
    release(id).then(free, free);
  }

  /** All are closed. The userfaultfd is not used any more: what it armed ends with it. */
  end(release: Closing['release']): void {
    this.#hasEnded = true;
    for (const view of this.#byKey.values()) this.close(view, { keepAddresses: false, release });
  }

  /** The node that came back knows no view, until each is `renumber`ed. */
  forgetNumbers(): void {
    this.#byId.clear();
  }

  renumber(view: OpenView, id: number): void {
    view.id = id;
    this.#byId.set(id, view);
  }

  /** Waits for a lease, or its new number; what the node says of it before it is known is kept. */
  async leasing<T>(lease: Promise<T>): Promise<T> {
    this.#leasing++;
    try {
      return await lease;
    } finally {
      this.#leasing--;
    }
  }

  onRemap(remap: Event<'remap'>): void {
    this.#remaps.push(remap);
  }

  onChanged(changed: Event<'changed'>): void {
    const { view: id, cause, layoutVersion, size } = changed;
    const view = this.#byId.get(id);
    if (view !== undefined)
      this.#options.tell({ type: 'changed', key: view.key, cause, layoutVersion, size });
    else if (this.#leasing > 0) this.#changes.push(changed);
  }

  onRecall(recall: Event<'recall'>): void {
    this.#recalls.push(recall);
  }

  /** Says at once what nobody would let go of, also while the application's thread computes. */
  #answerRecalls(): void {
    const { say, tell } = this.#options;
    for (const recall of this.#recalls.splice(0)) {
      const view = this.#byId.get(recall.view);
      // One that is unknown is being opened, or has let go already.
      if (view === undefined) {
        if (this.#leasing > 0) this.#recalls.push(recall);
        continue;
      }
      const { reason, from, count, deadlineMs } = recall;
      if (view.state[viewState.recallable] === 0) say('keep', { view: view.id });
      else tell({ type: 'recall', key: view.key, reason, from, count, deadlineMs });
    }
  }

  /** Nothing of the segment is under any view from here on; the keys of the views. */
  forsake(): number[] {
    this.#remaps = [];
    this.#recalls = [];
    this.#changes = [];
    for (const view of this.#byKey.values()) {
      const { from, pages } = view.mapping;
      this.show(view, { from, count: pages, extents: [] });
      // One that the node had not armed yet is paused still.
      resumeMapping(view.mapping);
      view.isStale = true;
      setState(view, { size: 0, layoutVersion: view.state[viewState.layoutVersion] as number });
    }
    return [...this.#byKey.keys()];
  }

  show(
    { mapping }: OpenView,
    range: { from: number; count: number; extents: readonly Extent[] },
    { dataFd = this.#options.dataFd(), isPaused = false } = {},
  ): void {
    applyExtents(mapping, { dataFd, userfault: this.#options.userfault, isPaused }, range);
  }

  /** Puts pages under a view where it is to show others than it does. */
  showChanged(view: OpenView, extents: readonly Extent[], { isPaused }: { isPaused: boolean }): void {
    for (const change of changesBetween(view.extents, extents, view.mapping))
      this.show(view, change, { isPaused });
    view.extents = extents;
  }

  /** Puts all pages under a view. */
  showAll(view: OpenView, under: { readonly dataFd: number; readonly isPaused: boolean }): void {
    const { mapping, extents } = view;
    this.show(view, { from: mapping.from, count: mapping.pages, extents }, under);
  }

  /** Does all that the node has said: changes, recalls, and remaps, the last of which counts for a page. */
  applyWaiting(): void {
    if (this.#changes.length > 0) for (const changed of this.#changes.splice(0)) this.onChanged(changed);
    if (this.#recalls.length > 0) this.#answerRecalls();
    if (this.#remaps.length === 0) return;
    const remaps = this.#remaps;
    this.#remaps = [];
    for (const [i, remap] of remaps.entries()) {
      const view = this.#byId.get(remap.view);
      if (view !== undefined) this.#apply(view, remap, remaps.slice(i + 1));
      else if (this.#leasing > 0) this.#remaps.push(remap);
    }
  }

  #apply(view: OpenView, remap: Event<'remap'>, behind: readonly Event<'remap'>[]): void {
    const { say, tell } = this.#options;
    const newer = behind.some(
      (r) => r.view === remap.view && r.from <= remap.from && remap.from + remap.count <= r.from + r.count,
    );
    if (!newer) this.show(view, remap);
    view.extents = replaceExtents(view.extents, remap);
    if (!newer) this.#options.shown(view);
    setState(view, remap);
    view.state[viewState.remaps] = (view.state[viewState.remaps] as number) + 1;
    say('ack', { view: remap.view, serial: remap.serial });
    // A move that nobody asked to hear of does not wake the application's thread.
    if (remap.cause === 'move' && view.state[viewState.listening] === 0) return;
    const { cause, layoutVersion, size } = remap;
    tell({ type: 'remapped', key: view.key, cause, layoutVersion, size, address: view.mapping.address });
  }
}

export function setState(
  { state }: OpenView,
  { size, layoutVersion }: { size: number; layoutVersion: number },
): void {
  state[viewState.size] = size;
  state[viewState.layoutVersion] = layoutVersion;
}
