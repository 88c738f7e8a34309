export * from './binary.ts';
export {
  type Codec, type FieldsOf, type RecordOf, type TypeOf, toValues,
} from './codec.ts';
export { type AnyEvent, type AnyRequest, Connection, type ConnectionHandlers } from './connection.ts';
export { type ErrorCode, FsError, assert, codeOfErrno, unreachable } from './errors.ts';
export { limits as frameLimits } from './frame.ts';
export * from './messages.ts';
export * as native from './native.ts';
