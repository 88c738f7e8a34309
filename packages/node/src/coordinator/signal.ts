/** Something that happens again and again, and those who wait for the next time. */
export class Signal {
  readonly #waiters = new Set<() => void>();

  notify(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  /** Resolves with the next `notify`, or after `deadlineMs`. */
  next(deadlineMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, deadlineMs);
      this.#waiters.add(wake);
    });
  }
}
