/** Time that does not pass by itself: what is to happen, in the order of when. */
interface Planned {
  readonly atMs: number;
  readonly number: number;
  run(): void;
}

export class Timeline {
  nowMs = 0;
  #planned: Planned[] = [];
  #number = 0;

  after(ms: number, run: () => void): void {
    const heap = this.#planned;
    heap.push({ atMs: this.nowMs + ms, number: this.#number++, run });
    for (let i = heap.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (!isBefore(heap[i] as Planned, heap[parent] as Planned)) break;
      swap(heap, i, parent);
      i = parent;
    }
  }

  /** Lets time pass until `endMs`, or until nothing is planned. */
  run(endMs: number): void {
    while (this.step(endMs));
  }

  /** Lets what is planned next happen; false when that is nothing until `endMs`, and then it is that late. */
  step(endMs: number): boolean {
    const next = this.#planned[0];
    if (next === undefined || next.atMs > endMs) {
      this.nowMs = Math.max(this.nowMs, endMs);
      return false;
    }
    this.#removeFirst();
    this.nowMs = next.atMs;
    next.run();
    return true;
  }

  #removeFirst(): void {
    const heap = this.#planned;
    const last = heap.pop() as Planned;
    if (heap.length === 0) return;
    heap[0] = last;
    for (let i = 0; ; ) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) {
        const other = heap[child];
        if (other !== undefined && isBefore(other, heap[least] as Planned)) least = child;
      }
      if (least === i) return;
      swap(heap, i, least);
      i = least;
    }
  }
}

const isBefore = (a: Planned, b: Planned): boolean =>
  a.atMs < b.atMs || (a.atMs === b.atMs && a.number < b.number);

function swap(heap: Planned[], i: number, j: number): void {
  const kept = heap[i] as Planned;
  heap[i] = heap[j] as Planned;
  heap[j] = kept;
}
