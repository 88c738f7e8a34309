/**
 * What a conformance suite sees of a filesystem, and the few words in which its tests are told.
 *
 * A suite never names a backend. What a backend cannot do is said in its setup, as an ability that is false,
 * with the reason beside it; the tests that need it are then reported as skipped.
 */
import type * as nodeFs from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';

type Node = typeof nodeFs;

export type PromisesLike = Pick<
  Node['promises'],
  | 'access'
  | 'appendFile'
  | 'chmod'
  | 'chown'
  | 'constants'
  | 'copyFile'
  | 'cp'
  | 'lchown'
  | 'link'
  | 'lstat'
  | 'lutimes'
  | 'mkdir'
  | 'mkdtemp'
  | 'open'
  | 'opendir'
  | 'readFile'
  | 'readdir'
  | 'readlink'
  | 'realpath'
  | 'rename'
  | 'rm'
  | 'rmdir'
  | 'stat'
  | 'statfs'
  | 'symlink'
  | 'truncate'
  | 'unlink'
  | 'utimes'
  | 'watch'
  | 'writeFile'
>;

export type SyncLike = Pick<
  Node,
  | 'accessSync'
  | 'existsSync'
  | 'lstatSync'
  | 'readFileSync'
  | 'readdirSync'
  | 'readlinkSync'
  | 'realpathSync'
  | 'statSync'
>;

export type StreamsLike = Pick<Node, 'createReadStream' | 'createWriteStream'>;

export interface Abilities {
  /** Files can be given to any user and group: the caller is root. */
  readonly giveFilesAway: boolean;
  /** Mode bits keep the caller out: it is not root, and the filesystem enforces modes. */
  readonly refuseByMode: boolean;
  /** A name may be any bytes but NUL and slash, whether they are UTF-8 or not. */
  readonly rawNames: boolean;
  /** A hole in a file takes no blocks. */
  readonly sparseFiles: boolean;
}

export interface Tester {
  readonly name: string;
  readonly fs: PromisesLike;
  readonly sync: SyncLike;
  readonly streams: StreamsLike;
  /** Comes before every path: a directory that tests stay below. '' is a filesystem of their own. */
  readonly root: string;
  readonly can: Abilities;
}

export type Suite = (tester: Tester) => void;
/** A test's body; `dir` is an empty directory of its own, removed after it. */
export type Story = (dir: string) => Promise<void>;
export type Tell = (title: string, story: Story) => void;

export interface Conditions {
  readonly needs?: keyof Abilities;
  /** For what is refused to those who lack the ability. */
  readonly lacks?: keyof Abilities;
  readonly timeoutMs?: number;
}

/** Returns `it` for the suites: a vitest test that brings its own directory. */
export function stories(tester: Tester, { needs, lacks, timeoutMs = 30_000 }: Conditions = {}): Tell {
  const possible = (needs === undefined || tester.can[needs]) && (lacks === undefined || !tester.can[lacks]);
  return (title, story) => {
    test.skipIf(!possible)(title, { timeout: timeoutMs }, async ({ task }) => {
      const dir = `${tester.root}/${task.id.replaceAll('-', '')}`;
      await tester.fs.mkdir(dir);
      onTestFinished(() => tester.fs.rm(dir, { recursive: true, force: true }));
      await story(dir);
    });
  };
}

export type SystemError = NodeJS.ErrnoException & { readonly dest?: string };

/** Expects `work` to be rejected with an error of this code, and returns that error. */
export async function refused(work: Promise<unknown>, code: string): Promise<SystemError> {
  const outcome = await work.then(
    () => ({ code: 'no error' }) as SystemError,
    (error: SystemError) => error,
  );
  expect(outcome.code ?? String(outcome)).toBe(code);
  return outcome;
}

/** Expects `work` to throw an error of this code at once, and returns that error. */
export function refusedSync(work: () => unknown, code: string): SystemError {
  let outcome = { code: 'no error' } as SystemError;
  try {
    work();
  } catch (error) {
    outcome = error as SystemError;
  }
  expect(outcome.code ?? String(outcome)).toBe(code);
  return outcome;
}

/** Bytes that differ from page to page and from byte to byte, so that a misplaced copy shows. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let word = (seed * 0x9e3779b1) >>> 0 || 1;
  for (let i = 0; i < length; i++) {
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    bytes[i] = word;
  }
  return bytes;
}

/** Expects equal bytes; on failure it names the first difference instead of printing both files. */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  const length = Math.min(actual.length, expected.length);
  let differs = 0;
  while (differs < length && actual[differs] === expected[differs]) differs++;
  expect(
    { length: actual.length, firstDifference: differs },
    `expected ${expected[differs]} at ${differs}, got ${actual[differs]}`,
  ).toEqual({ length: expected.length, firstDifference: expected.length });
}

export async function exists(tester: Tester, path: string): Promise<boolean> {
  return tester.fs.lstat(path).then(
    () => true,
    () => false,
  );
}
