export * from './binary.ts';
export {
  type Codec,
  type FieldsOf,
  fromValues,
  type RecordOf,
  type TypeOf,
  toValues,
} from './codec.ts';
export {
  type AnyEvent,
  type AnyRequest,
  Connection,
  type ConnectionHandlers,
  type ConnectionOptions,
  type Meter,
  type RequestOptions,
  requestNameOf,
  turnAway,
} from './connection.ts';
export { assert, codeOfErrno, type ErrorCode, FsError, unreachable } from './errors.ts';
export { decodeBody, limits as frameLimits, packBody } from './frame.ts';
export * from './messages.ts';
export * as native from './native.ts';
export {
  type Extent,
  extent,
  type Guess,
  type Hole,
  type HomeLossPolicy,
  hole,
  homeLossPolicies,
  type MoveFailure,
  maxPathLength,
  type PlannedMove,
  type Run,
  run,
} from './records.ts';
export { Spinner } from './spinner.ts';
