/**
 * How a verb ends when it does not end well: one line on stderr, and a number.
 *
 * | code | meaning |
 * |--:|---|
 * | 0 | done; also when who read the output had enough of it (`| head`) |
 * | 1 | it failed: the line says why, starting with a POSIX code where there is one |
 * | 2 | it was called wrongly |
 * | 3 | no node is there |
 * | 128 + n | signal n ended it: 130 is Ctrl-C |
 */
import { constants } from 'node:os';
import { defaultSocket } from 'cluster-fs/address';

export const exitCodes = { done: 0, failed: 1, misuse: 2, noNode: 3 } as const;

export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';
export const stopSignals: readonly StopSignal[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
export const exitCodeOf = (signal: StopSignal): number => 128 + constants.signals[signal];

/** The operator ended it. */
export class Interrupted extends Error {
  readonly signal: StopSignal;

  constructor(signal: StopSignal) {
    super(`interrupted by ${signal}`);
    this.signal = signal;
  }
}

/** Who reads our output has enough. */
export class OutputClosed extends Error {
  constructor() {
    super('nobody reads the output');
  }
}

/** A verb found what it was asked to look for, has said so, and that is no success. */
export class Found extends Error {}

/** It was called wrongly, in a way that only shows while it runs. */
export class Misuse extends Error {}

export interface Failure {
  readonly code: number;
  /** Undefined when there is nothing to say. */
  readonly line: string | undefined;
}

/** What to say and which number to end with. `url` is where the node was looked for. */
export function failureOf(error: unknown, url: string | undefined): Failure {
  if (error instanceof Interrupted) return { code: exitCodeOf(error.signal), line: undefined };
  if (error instanceof OutputClosed) return { code: exitCodes.done, line: undefined };
  if (error instanceof Found) return { code: exitCodes.failed, line: undefined };
  if (error instanceof Misuse) return { code: exitCodes.misuse, line: error.message };
  if (url !== undefined && isNoNode(error)) {
    const { code } = error;
    const listen = url === `unix:${defaultSocket()}` ? '' : ` --listen ${/\s/.test(url) ? `'${url}'` : url}`;
    const command = `clusterfs serve${listen}`;
    return {
      code: exitCodes.noNode,
      line: `${code}: no node listens on ${url}; start one with: ${command}`,
    };
  }
  const text = error instanceof Error ? error.message : String(error);
  return { code: exitCodes.failed, line: text.replace(/\s*\n\s*/g, ' ') };
}

function isNoNode(error: unknown): error is NodeJS.ErrnoException {
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return false;
  return error.syscall === 'connect' && (error.code === 'ENOENT' || error.code === 'ECONNREFUSED');
}
