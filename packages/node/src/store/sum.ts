/** xxHash64 of a page: tells a damaged page from a whole one, and a changed one from what is stored. */
import createXxhash from 'xxhash-wasm';

const { h64Raw } = await createXxhash();

export const sumOf = (page: Uint8Array): bigint => h64Raw(page);
