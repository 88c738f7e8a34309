/** What may be written to a file: text, bytes of any kind of view, or a source that yields them. */
import { invalidType, throwIfAborted } from './argument-errors.ts';

type Chunk = string | ArrayBufferView;
export type Source = Iterable<Chunk> | AsyncIterable<Chunk>;

/** The bytes of a view, without a copy. */
export const bytesOf = (view: ArrayBufferView): Buffer =>
  Buffer.from(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength);

export const isSource = (data: unknown): data is Source =>
  typeof data === 'object' &&
  data !== null &&
  !ArrayBuffer.isView(data) &&
  (Symbol.iterator in data || Symbol.asyncIterator in data);

/** The bytes of what is no source. Throws node's TypeError for what is no data. */
export function contentOf(data: unknown, encoding: unknown): Buffer {
  if (ArrayBuffer.isView(data)) return bytesOf(data);
  if (typeof data !== 'string') {
    throw invalidType('data', 'of type string or an instance of Buffer, TypedArray, or DataView', data);
  }
  return Buffer.from(data, (encoding || 'utf8') as BufferEncoding);
}

/** Hands the bytes of each chunk to `write`, one after the other. */
export async function writeSource(
  source: Source,
  options: { readonly encoding: unknown; readonly signal: AbortSignal | undefined },
  write: (bytes: Buffer) => Promise<unknown>,
): Promise<void> {
  const { encoding, signal } = options;
  for await (const chunk of source) {
    throwIfAborted(signal);
    const bytes = ArrayBuffer.isView(chunk)
      ? bytesOf(chunk)
      : Buffer.from(chunk, (encoding || 'utf8') as BufferEncoding);
    if (bytes.length > 0) await write(bytes);
    throwIfAborted(signal);
  }
}
