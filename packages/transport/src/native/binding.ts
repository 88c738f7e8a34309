/** Loads the addon, and turns its `-errno` results into errors. The only place that sees the addon itself. */
import { createRequire } from 'node:module';
import { codeOfErrno, FsError } from '../errors.ts';

type Call = (...args: readonly unknown[]) => number;
type Binding = Readonly<Record<string, Call>>;

const require = createRequire(import.meta.url);

/** A compiled module of this package; `undefined` when it was not built. */
export function loadBinary(name: string): unknown {
  const path = new URL(`../../build/Release/${name}.node`, import.meta.url).pathname;
  try {
    return require(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

function loadAddon(): Binding {
  const loaded = loadBinary('cluster_fs') as Binding | undefined;
  if (loaded === undefined) {
    throw new Error(
      'the addon of @cluster-fs/transport is not built: run `node scripts/build-addon.mjs` in its folder',
    );
  }
  return loaded;
}

const binding = loadAddon();

/** Calls a function of the addon. */
export const call = (name: string, ...args: readonly unknown[]): number => {
  const target = binding[name];
  if (target === undefined) throw new Error(`the addon has no ${name}: build it again`);
  return target(...args);
};

/** The result, or an error with the errno's name when it is negative. */
export function checked(result: number, syscall: string, path?: string): number {
  if (result < 0) throw new FsError(codeOfErrno(-result), syscall, { path });
  return result;
}

/** As `checked`, with undefined for EAGAIN: the call would have to wait. */
export function unlessBusy(result: number, syscall: string): number | undefined {
  return result === -11 ? undefined : checked(result, syscall);
}
