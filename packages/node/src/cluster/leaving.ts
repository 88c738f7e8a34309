/**
 * Files that have another home by now, at the one of before: the right to one is given back there when
 * everything that was asked for is answered.
 */
interface HomeOfBefore {
  readonly taken: { isDone(ino: number): boolean };
  giveBack(ino: number): void;
}

export class Leaving {
  readonly #at: HomeOfBefore;
  readonly #isHome: (ino: number) => boolean;
  readonly #files = new Set<number>();

  /** `isHome`: whether a file has come back there. */
  constructor(at: HomeOfBefore, isHome: (ino: number) => boolean) {
    this.#at = at;
    this.#isHome = isHome;
  }

  get count(): number {
    return this.#files.size;
  }

  add(ino: number): void {
    this.#files.add(ino);
    this.look();
  }

  /** To be called every now and then. */
  look(): void {
    for (const ino of this.#files) {
      const isBack = this.#isHome(ino);
      if (!isBack && !this.#at.taken.isDone(ino)) continue;
      this.#files.delete(ino);
      if (!isBack) this.#at.giveBack(ino);
    }
  }
}
