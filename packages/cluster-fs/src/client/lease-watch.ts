/**
 * Watches, while the node may stand still, until when this process may use what its host has of the files of
 * other nodes, and cuts views of them off then (docs/coherence.md).
 *
 *   watched ──the lease is over──▶ cut off ──there is another lease──▶ watched
 *
 * A view that is cut off keeps its pages; each touch waits for the node, which lets it go on when it may.
 * So nothing is lost by it, and what came too late, when the lease had been renewed, costs time and nothing
 * else: nobody has to be told.
 *
 * INVARIANT: a view is cut off again for each lease, since the node lets touches go on under the next one.
 * INVARIANT: while nothing is cut off, the next look is at the end of the lease that is over first, of any
 * home: a file may get another one meanwhile.
 */
import { native } from '@cluster-fs/transport';
import { homeIn } from '../segment/inode.ts';
import { maxHomes } from '../segment/layout.ts';
import { forever, heldUntilNs, isOwnHome } from '../segment/leases.ts';
import { openSegment } from '../segment/open.ts';
import type { Segment } from '../segment/segment.ts';
import { cutOff } from './mapping.ts';
import type { OpenView } from './open-views.ts';

/** How often another lease is looked for: well below the time that is given for cutting off (lease.ts). */
const lookMs = 50;
const nsPerMs = 1e6;
/** Of a timer: leases are shorter. */
const longestMs = 60_000;

interface Meta {
  readonly metaFd: number;
  readonly metaSize: number;
}

interface LeaseWatchOptions {
  readonly userfault: number;
  readonly views: () => Iterable<OpenView>;
  /** The segment that there is now. */
  readonly meta: () => Meta | undefined;
}

export class LeaseWatch {
  readonly #options: LeaseWatchOptions;
  /** For which lease a view is cut off. */
  readonly #cutFor = new WeakMap<OpenView, bigint>();
  #mapped: { readonly meta: Meta; readonly address: number; readonly segment: Segment } | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LeaseWatchOptions) {
    this.#options = options;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#forgetMeta();
  }

  /** Pages have been put under the view: it is cut off no more. */
  shown(view: OpenView): void {
    this.#cutFor.delete(view);
    this.look();
  }

  /** To be called when a lease may be over, or views may be under one. */
  look(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const [first] = this.#options.views();
    const segment = first === undefined ? undefined : this.#segment();
    if (segment === undefined) return;
    const nowNs = process.hrtime.bigint();
    let isWaiting = false;
    for (const view of this.#options.views()) {
      if (this.#isHeld(segment, view, nowNs)) continue;
      isWaiting = true;
    }
    const untilNs = firstEnd(segment, nowNs);
    const leftMs = untilNs === forever ? longestMs : Number(untilNs - nowNs) / nsPerMs;
    const waitMs = Math.ceil(Math.min(leftMs, isWaiting ? lookMs : longestMs));
    if (untilNs !== forever || isWaiting) this.#timer = setTimeout(() => this.look(), waitMs).unref();
  }

  /** False when the lease of the view's file is over: it is cut off. */
  #isHeld(segment: Segment, view: OpenView, nowNs: bigint): boolean {
    const home = homeIn(segment, view.ino);
    if (view.isStale || isOwnHome(segment, home)) return true;
    const untilNs = heldUntilNs(segment, home);
    if (nowNs < untilNs) return true;
    if (this.#cutFor.get(view) === untilNs) return false;
    cutOff(view.mapping, this.#options.userfault, view.extents);
    this.#cutFor.set(view, untilNs);
    return false;
  }

  #segment(): Segment | undefined {
    const meta = this.#options.meta();
    if (this.#mapped?.meta.metaFd === meta?.metaFd) return this.#mapped?.segment;
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
