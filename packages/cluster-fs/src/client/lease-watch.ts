/**
 * Watches, while the node may stand still, until when this process may use what its host has of the files of
 * other nodes, and pauses views of them then (docs/coherence.md).
 *
 *   watched ──the lease is over──▶ paused ──there is another lease──▶ watched
 *
 * Of a view that is paused nothing is changed but whether it can be touched: who touches it waits in this
 * process. So nothing is lost by it, nobody has to be told, and what comes too early or too late costs time
 * and nothing else.
 *
 * INVARIANT: the next look is at the end of the lease that is over first, of any home: a file may get another
 * one meanwhile. While a view is paused it is soon.
 */
import { native } from '@cluster-fs/transport';
import { homeIn } from '../segment/inode.ts';
import { maxHomes } from '../segment/layout.ts';
import { forever, heldUntilNs, isHeldAt } from '../segment/leases.ts';
import { openSegment } from '../segment/open.ts';
import type { Segment } from '../segment/segment.ts';
import { pauseMapping, resumeMapping } from './mapping.ts';
import type { OpenView } from './open-views.ts';

/** How often another lease is looked for: well below the time that is given for cutting off (lease.ts). */
const lookMs = 20;
const nsPerMs = 1e6;
/** Of a timer: leases are shorter. */
const longestMs = 60_000;

interface Meta {
  readonly metaFd: number;
  readonly metaSize: number;
}

interface LeaseWatchOptions {
  readonly views: () => Iterable<OpenView>;
  /** The segment that there is now. */
  readonly meta: () => Meta | undefined;
  /** Whether the view maps pages of the file itself; one that maps a copy goes on. */
  readonly isOfFile: (view: OpenView) => boolean;
  /** Whether it is paused for another reason; when that is over it is `shown`. */
  readonly isUnarmed: (view: OpenView) => boolean;
}

export class LeaseWatch {
  readonly #options: LeaseWatchOptions;
  readonly #paused = new Set<OpenView>();
  #mapped: { readonly meta: Meta; readonly address: number; readonly segment: Segment } | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LeaseWatchOptions) {
    this.#options = options;
  }

  /** Nobody waits any more: what the views map is nobody's. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const view of this.#paused) resumeMapping(view.mapping);
    this.#paused.clear();
    this.#forgetMeta();
  }

  /** Pages have been put under the view, which can be touched. */
  shown(view: OpenView): void {
    if (this.#paused.has(view)) pauseMapping(view.mapping);
    const segment = this.#segment();
    if (segment === undefined) return;
    const nowNs = process.hrtime.bigint();
    this.#lookAt(segment, view, nowNs);
    if (this.#timer === undefined || this.#paused.has(view)) this.#sleep(segment, nowNs);
  }

  /** To be called before its addresses are given back. */
  forget(view: OpenView): void {
    if (this.#paused.delete(view)) resumeMapping(view.mapping);
  }

  /** To be called when a lease may be over, or there is another one, or views may be under one. */
  look(): void {
    const [first] = this.#options.views();
    const segment = first === undefined ? undefined : this.#segment();
    if (segment === undefined) return;
    const nowNs = process.hrtime.bigint();
    for (const view of this.#options.views()) this.#lookAt(segment, view, nowNs);
    this.#sleep(segment, nowNs);
  }

  /** Until a lease may be over, or there may be another one. */
  #sleep(segment: Segment, nowNs: bigint): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const untilNs = firstEnd(segment, nowNs);
    if (untilNs === forever && this.#paused.size === 0) return;
    const leftMs = untilNs === forever ? longestMs : Number(untilNs - nowNs) / nsPerMs;
    const waitMs = Math.ceil(Math.min(leftMs, this.#paused.size > 0 ? lookMs : longestMs));
    this.#timer = setTimeout(() => this.look(), waitMs).unref();
  }

  #lookAt(segment: Segment, view: OpenView, nowNs: bigint): void {
    const isHeld =
      view.isStale || !this.#options.isOfFile(view) || isHeldAt(segment, homeIn(segment, view.ino), nowNs);
    if (isHeld === !this.#paused.has(view) || this.#options.isUnarmed(view)) return;
    if (isHeld) {
      this.#paused.delete(view);
      resumeMapping(view.mapping);
    } else if (pauseMapping(view.mapping)) this.#paused.add(view);
  }

  #segment(): Segment | undefined {
    const meta = this.#options.meta();
    if (this.#mapped !== undefined && this.#mapped.meta === meta) return this.#mapped.segment;
    this.#forgetMeta();
    if (meta === undefined) return undefined;
    const { metaFd, metaSize } = meta;
    const address = native.mapFile({ fd: metaFd, offset: 0, length: metaSize, protection: 'read' });
    const segment = openSegment(native.arrayBufferAt(address, metaSize));
    this.#mapped = { meta, address, segment };
    return segment;
  }

  #forgetMeta(): void {
    if (this.#mapped === undefined) return;
    const { segment, address, meta } = this.#mapped;
    this.#mapped = undefined;
    native.detachArrayBuffer(segment.view.buffer as ArrayBuffer);
    native.unmap(address, meta.metaSize);
  }
}

/** The end of the lease that is over first, of those that are not; `forever` when there is none. */
function firstEnd(segment: Segment, nowNs: bigint): bigint {
  let first = forever;
  for (let home = 0; home < maxHomes; home++) {
    const untilNs = heldUntilNs(segment, home);
    if (untilNs > nowNs && untilNs < first) first = untilNs;
  }
  return first;
}
