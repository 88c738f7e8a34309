/**
 * One of several processes that look addresses up. With a URL it maps the database, with a path it loads the
 * file, as programs do today. It never restarts.
 */
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { mount } from 'cluster-fs';
import { type CityResponse, Reader } from 'mmdb-lib';
import { someAddress } from './database.ts';

export type FromWorker =
  | { readonly type: 'answers'; readonly buildEpochMs: number; readonly atMs: number }
  | { readonly type: 'report'; readonly lookups: number; readonly found: number; readonly ms: number };

const tell = (message: FromWorker): void => {
  process.send?.(message);
};

const [, , where = '', path = ''] = process.argv;
let reader = where === 'file' ? new Reader<CityResponse>(readFileSync(path)) : await mapDatabase();
const answersFrom = (): void => {
  tell({ type: 'answers', buildEpochMs: reader.metadata.buildEpoch.getTime(), atMs: Date.now() });
};

/**
 * A reader straight over shared memory. It is exchanged between two lookups, so none sees half of a change.
 */
async function mapDatabase(): Promise<Reader<CityResponse>> {
  const fs = await mount(where);
  const { size } = fs.statSync(path);
  const view = await fs.map(path, { follow: 'manual', reserve: size * 2 });
  const readerOver = () =>
    new Reader<CityResponse>(Buffer.from(view.buffer as ArrayBuffer, 0, view.bytes.length));
  view.on('change', () => {
    void view.advance().then(() => {
      reader = readerOver();
      answersFrom();
    });
  });
  return readerOver();
}

let lookups = 0;
let found = 0;
let sinceMs = performance.now();
process.on('message', () => {
  tell({ type: 'report', lookups, found, ms: performance.now() - sinceMs });
  lookups = found = 0;
  sinceMs = performance.now();
});
let working = true;
process.once('disconnect', () => {
  working = false;
});
answersFrom();

// Busy, as in a load test, but for a breath in which messages arrive.
while (working) {
  for (let i = 0; i < 500; i++, lookups++) if (reader.get(someAddress()) !== null) found++;
  await setImmediate();
}
