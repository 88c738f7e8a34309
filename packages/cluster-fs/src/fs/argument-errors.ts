/**
 * Errors about arguments, in node's own words: the class, `code` and message that node:fs throws for the same
 * mistake.
 *
 * Node keeps its constructors to itself, so the few that a file API needs are spelled here after
 * lib/internal/errors.js.
 */
import { inspect } from 'node:util';

type ErrorClass = new (message: string, options?: ErrorOptions) => Error;

/** An error as node makes its own: `code` is a property, and the stack names it beside the class. */
export function nodeError(
  Class: ErrorClass,
  code: string,
  message: string,
  options?: ErrorOptions,
): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Class(message, options);
  const { name } = error;
  error.name = `${name} [${code}]`;
  // The stack is rendered when it is first asked for, with the name of that moment.
  Reflect.get(error, 'stack');
  Reflect.deleteProperty(error, 'name');
  error.code = code;
  return error;
}

const kindOf = (name: string): string => (name.includes('.') ? 'property' : 'argument');

/** `expected` continues "must be", such as `of type string`. */
export const invalidType = (name: string, expected: string, value: unknown): NodeJS.ErrnoException =>
  nodeError(
    TypeError,
    'ERR_INVALID_ARG_TYPE',
    `The "${name}" ${kindOf(name)} must be ${expected}. Received ${received(value)}`,
  );

export function invalidValue(name: string, value: unknown, reason = 'is invalid'): NodeJS.ErrnoException {
  const shown = inspect(value);
  const short = shown.length > 128 ? `${shown.slice(0, 128)}...` : shown;
  return nodeError(
    TypeError,
    'ERR_INVALID_ARG_VALUE',
    `The ${kindOf(name)} '${name}' ${reason}. Received ${short}`,
  );
}

/** `range` continues "must be", such as `>= 0`. */
export const outOfRange = (name: string, range: string, value: unknown): NodeJS.ErrnoException =>
  nodeError(
    RangeError,
    'ERR_OUT_OF_RANGE',
    `The value of "${name}" is out of range. It must be ${range}. Received ${receivedNumber(value)}`,
  );

/** The reason of `signal` is its cause, as with node:fs. */
export function abortError(signal: AbortSignal): Error {
  const error: NodeJS.ErrnoException = new Error('The operation was aborted', { cause: signal.reason });
  error.code = 'ABORT_ERR';
  error.name = 'AbortError';
  return error;
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortError(signal);
}

function received(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  switch (typeof value) {
    case 'function':
      return `function ${value.name}`;
    case 'object':
      return typeof value.constructor?.name === 'string'
        ? `an instance of ${value.constructor.name}`
        : inspect(value, { depth: -1 });
    case 'string':
      return `type string (${quoted(value)})`;
    default:
      return `type ${typeof value} (${inspect(value)})`;
  }
}

function quoted(text: string): string {
  const short = text.length > 28 ? `${text.slice(0, 25)}...` : text;
  return short.includes("'") ? JSON.stringify(short) : `'${short}'`;
}

function receivedNumber(value: unknown): string {
  const large = typeof value === 'number' && Number.isInteger(value) && Math.abs(value) > 2 ** 32;
  return large ? String(value).replace(/\B(?=(\d{3})+$)/g, '_') : inspect(value);
}
