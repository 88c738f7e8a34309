/** What an operation of the model is made of: its row in the table, and the worlds that it changes. */
import fc from 'fast-check';
import type { PromisesLike } from '../conformance/tester.ts';
import type * as tree from './fs-model.ts';

export type FileHandle = Awaited<ReturnType<PromisesLike['open']>>;

/** The model with the handles that the sequence has opened in it. */
export interface ModelWorld {
  readonly model: tree.Model;
  readonly handles: Map<number, tree.Handle>;
}

/** A real filesystem, the directory that stands for the model's root, and the handles. */
export interface RealWorld {
  readonly fs: PromisesLike;
  readonly root: string;
  readonly handles: Map<number, FileHandle>;
  readonly sparse: SparseCalls;
}

/** What node:fs has not: fallocate(2), and lseek(2) for data and holes. */
export interface SparseCalls {
  punchHole(handle: FileHandle, offset: number, length: number): Promise<void>;
  zeroRange(handle: FileHandle, offset: number, length: number): Promise<void>;
  allocate(handle: FileHandle, offset: number, length: number): Promise<void>;
  seek(handle: FileHandle, offset: number, what: 'data' | 'hole'): Promise<number>;
}

export interface Command<A> {
  readonly weight: number;
  readonly args: { readonly [K in keyof A]: fc.Arbitrary<A[K]> };
  model(world: ModelWorld, args: A): unknown;
  real(world: RealWorld, args: A): Promise<unknown>;
}

/** Keeps the types of one row together; the table forgets them. */
export function command<A>(row: Command<A>): Command<Record<string, unknown>> {
  return row as unknown as Command<Record<string, unknown>>;
}

export const slot = fc.integer({ min: 0, max: 1 });
export const noHandle = 'no handle';
