/**
 * Where touches of a view go on in order, what follows is brought in before they get there.
 *
 *   a touch elsewhere ──▶ [start ... the block]                                  nothing is read ahead
 *   one at its end, or in what was read ahead ──▶ [start ... the block ... mark ... end]
 *                                                                                twice as far as it has come
 *
 * Pieces of that are read off the event loop, two at once, so that one is read while another is put. The
 * block at the mark is left out: its touch says in time that more is wanted (as Linux's PG_readahead).
 */
import type { View } from '../coordinator/session.ts';
import { piecePages } from './page-buffer.ts';
import type { Range } from './stored.ts';

/** Pages that a touch brings in: 64 KiB, aligned in the file. */
export const blockPages = 16;
/** As far ahead as goes on for some milliseconds, at most. */
const mostAheadPages = 2048;
/** With less ahead of it there is no mark. */
const fewestMarkedPages = 8 * blockPages;
/** One on the way from the store while another is put. */
const mostReads = 2;

/** File pages that are touched in order. */
export interface Stream {
  readonly start: number;
  /** Up to here they are here, or on their way. */
  readonly next: number;
  /** Up to here they are to be read. */
  readonly end: number;
  /** A block that is left out; undefined when none is. */
  readonly mark: number | undefined;
}

/** The stream after a touch of an absent block that begins at a page. */
export function streamAfter(before: Stream | undefined, block: number, most: number): Stream {
  const after = block + blockPages;
  const goesOn = before !== undefined && before.start < block && block <= before.end;
  if (!goesOn) return { start: block, next: after, end: after, mark: undefined };
  const { start } = before;
  const next = Math.max(before.next, after);
  const end = Math.max(before.end, after + Math.min(most, 2 * (block - start)));
  return { start, next, end, mark: end > before.end ? markBetween(next, end) : before.mark };
}

/** Half way. */
function markBetween(next: number, end: number): number | undefined {
  if (end - next < fewestMarkedPages) return undefined;
  const middle = (next + end) / 2;
  return middle - (middle % blockPages);
}

/** What of a stream is read next: a quarter of what it may read, so that the first of it comes soon. */
export function pieceOf({ start, next, end, mark }: Stream): Range {
  const from = next === mark ? mark + blockPages : next;
  const blocks = Math.ceil((end - start) / 4 / blockPages);
  const until = mark !== undefined && from < mark ? mark : end;
  return { from, count: Math.min(blocks * blockPages, piecePages, until - from) };
}

export interface ReadAheadParts {
  /** Brings a piece in; whether more can follow. */
  bring(view: View, piece: Range): Promise<boolean>;
  /** Whether there is room for so many pages. */
  hasRoom(pages: number): boolean;
  /** Pages that may be read ahead of one view. */
  mostPages(): number;
}

export class ReadAhead {
  readonly #parts: ReadAheadParts;
  readonly #streams = new WeakMap<View, Stream>();
  /** Views of which something is to be read, in turns. */
  readonly #waiting = new Set<View>();
  #reads = 0;

  constructor(parts: ReadAheadParts) {
    this.#parts = parts;
  }

  /** A block is touched of which pages are absent. */
  touched(view: View, block: number): void {
    const most = Math.min(mostAheadPages, this.#parts.mostPages());
    const stream = streamAfter(this.#streams.get(view), block, most);
    const end = Math.min(stream.end, view.from + view.pages);
    this.#streams.set(view, { ...stream, end });
    if (stream.next < end) this.#waiting.add(view);
  }

  /** Goes on reading. */
  pump(): void {
    for (const view of this.#waiting) {
      if (this.#reads >= mostReads) return;
      this.#waiting.delete(view);
      const stream = this.#streams.get(view);
      if (stream === undefined || stream.next >= stream.end) continue;
      const piece = pieceOf(stream);
      if (!this.#parts.hasRoom(piece.count)) {
        this.#stop(view);
        continue;
      }
      this.#streams.set(view, { ...stream, next: piece.from + piece.count });
      this.#waiting.add(view);
      this.#reads++;
      void this.#parts.bring(view, piece).then((goesOn) => {
        this.#reads--;
        if (!goesOn) this.#stop(view);
        this.pump();
      });
    }
  }

  #stop(view: View): void {
    const stream = this.#streams.get(view);
    if (stream !== undefined) this.#streams.set(view, { ...stream, end: stream.next });
  }
}
