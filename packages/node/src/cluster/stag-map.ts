/**
 * STags as they travel: random bytes, which nobody can guess; and what belongs to each, found by its bytes. A
 * message of a block names its file by one.
 */
import { randomBytes } from 'node:crypto';
import type { TagMap } from 'cluster-fs/coherence';

const stagBytes = 16;

/** So many bytes of random ones tell nearly all STags apart, and fit a number. */
const numberBytes = 6;

const numberOf = (stag: Uint8Array): number => {
  let number = 0;
  for (let at = 0; at < numberBytes; at++) number = number * 256 + (stag[at] ?? 0);
  return number;
};

const isSame = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
};

export const newStag = (): Uint8Array => randomBytes(stagBytes);

interface Entry<T> {
  readonly stag: Uint8Array;
  readonly value: T;
}

export class StagMap<T> implements TagMap<Uint8Array, T> {
  /** By what the first bytes are. INVARIANT: none is empty. */
  readonly #entries = new Map<number, readonly Entry<T>[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(stag: Uint8Array): T | undefined {
    const entries = this.#entries.get(numberOf(stag));
    if (entries === undefined) return undefined;
    for (const entry of entries) if (isSame(entry.stag, stag)) return entry.value;
    return undefined;
  }

  /** `stag` is kept as it is. */
  set(stag: Uint8Array, value: T): void {
    this.delete(stag);
    const number = numberOf(stag);
    this.#entries.set(number, [...(this.#entries.get(number) ?? []), { stag, value }]);
    this.#size++;
  }

  delete(stag: Uint8Array): void {
    const number = numberOf(stag);
    const entries = this.#entries.get(number) ?? [];
    const rest = entries.filter((entry) => !isSame(entry.stag, stag));
    this.#size -= entries.length - rest.length;
    if (rest.length > 0) this.#entries.set(number, rest);
    else this.#entries.delete(number);
  }

  clear(): void {
    this.#entries.clear();
    this.#size = 0;
  }

  *[Symbol.iterator](): Generator<readonly [Uint8Array, T]> {
    for (const entries of this.#entries.values()) for (const { stag, value } of entries) yield [stag, value];
  }
}
