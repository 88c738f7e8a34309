/**
 * Who may change the layout of an inode, and when: a readers-writer lock per inode, first come first served.
 *
 *   free ──acquire──▶ held (shared: many, exclusive: one) ──release──▶ free, next in line
 *
 * A `shared` hold is a client that stores into the pages as they lie (writeBegin .. writeEnd). An `exclusive`
 * hold is a change of the layout: a move's piece, a replace, a truncate, a write that adds pages. A client
 * may stop while it holds; what waits for it longer than `deadlineMs` *breaks* its hold: its write fails with
 * ESTALE, and what it may still be storing into stays in quarantine.
 */
export interface Hold {
  readonly ino: number;
  readonly kind: 'shared' | 'exclusive';
  /** Called when somebody has waited too long; without it the hold is never broken. */
  readonly onBreak: (() => void) | undefined;
  /** When it entered, on the clock of performance.now(). */
  enteredMs: number;
}

interface Gate {
  readonly holds: Set<Hold>;
  readonly queue: { readonly hold: Hold; enter(): void }[];
  timer: NodeJS.Timeout | undefined;
}

export class LayoutGate {
  readonly deadlineMs: number;
  readonly #gates = new Map<number, Gate>();

  constructor({ deadlineMs }: { deadlineMs: number }) {
    this.deadlineMs = deadlineMs;
  }

  /** Enters when it is this hold's turn. Returns at once, without a promise, when nobody is in the way. */
  acquire(ino: number, kind: Hold['kind'], onBreak?: () => void): Hold | Promise<Hold> {
    const gate = this.#gates.get(ino) ?? this.#open(ino);
    const hold: Hold = { ino, kind, onBreak, enteredMs: performance.now() };
    if (gate.queue.length === 0 && admits(gate, kind)) {
      gate.holds.add(hold);
      return hold;
    }
    return new Promise((resolve) => {
      gate.queue.push({ hold, enter: () => resolve(hold) });
      this.#watch(gate);
    });
  }

  /** Runs `change` as the only holder, and leaves when its promise is settled. */
  exclusive<T>(ino: number, change: () => T | Promise<T>): Promise<T> {
    const hold = this.acquire(ino, 'exclusive');
    return hold instanceof Promise ? hold.then((h) => this.#run(h, change)) : this.#run(hold, change);
  }

  release(hold: Hold): void {
    const gate = this.#gates.get(hold.ino);
    if (gate?.holds.delete(hold) === true) this.#advance(hold.ino, gate);
  }

  /** Whether a `shared` hold would enter now. */
  isOpen(ino: number): boolean {
    const gate = this.#gates.get(ino);
    return gate === undefined || (gate.queue.length === 0 && admits(gate, 'shared'));
  }

  isBusy(ino: number): boolean {
    return this.#gates.has(ino);
  }

  #open(ino: number): Gate {
    const gate: Gate = { holds: new Set(), queue: [], timer: undefined };
    this.#gates.set(ino, gate);
    return gate;
  }

  async #run<T>(hold: Hold, change: () => T | Promise<T>): Promise<T> {
    try {
      return await change();
    } finally {
      this.release(hold);
    }
  }

  #advance(ino: number, gate: Gate): void {
    while (gate.queue.length > 0) {
      const next = gate.queue[0];
      if (next === undefined || !admits(gate, next.hold.kind)) break;
      gate.queue.shift();
      next.hold.enteredMs = performance.now();
      gate.holds.add(next.hold);
      next.enter();
    }
    if (gate.queue.length === 0) {
      clearTimeout(gate.timer);
      gate.timer = undefined;
      if (gate.holds.size === 0) this.#gates.delete(ino);
    }
  }

  /** Looks again when the oldest hold that may be broken has lasted too long. */
  #watch(gate: Gate): void {
    if (gate.timer !== undefined || gate.queue.length === 0) return;
    const breakable = [...gate.holds].filter((hold) => hold.onBreak !== undefined);
    const oldest = Math.min(performance.now(), ...breakable.map((hold) => hold.enteredMs));
    const leftMs = Math.max(1, oldest + this.deadlineMs - performance.now());
    gate.timer = setTimeout(() => this.#breakHolds(gate), leftMs);
  }

  #breakHolds(gate: Gate): void {
    gate.timer = undefined;
    const entered = performance.now() - this.deadlineMs;
    // A copy: releasing one lets the next in, which has lasted no time at all.
    for (const hold of [...gate.holds]) {
      if (hold.onBreak === undefined || hold.enteredMs > entered) continue;
      hold.onBreak();
      this.release(hold);
    }
    this.#watch(gate);
  }
}

const admits = ({ holds }: Gate, kind: Hold['kind']): boolean => {
  if (holds.size === 0) return true;
  if (kind === 'exclusive') return false;
  for (const hold of holds) return hold.kind === 'shared';
  return true;
};
