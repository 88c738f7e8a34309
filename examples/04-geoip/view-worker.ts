/** A worker with cluster-fs: it looks addresses up in the one copy that all share. */
import { mount, type View } from 'cluster-fs';
import { type CityResponse, Reader } from 'mmdb-lib';
import { work } from './workload.ts';

const [, , url] = process.argv;
await using fs = await mount(url);
const ipv4 = await open('/geo/city-ipv4.mmdb');
const ipv6 = await open('/geo/city-ipv6.mmdb');

await work(async () => ({ ipv4: await newest(ipv4), ipv6: await newest(ipv6) }));

interface Database {
  readonly view: View;
  reader: Reader<CityResponse>;
  isOutdated: boolean;
}

async function open(path: string): Promise<Database> {
  // By hand: a newer edition waits until this worker is between two lookups. Reserved: it may be larger.
  const view = await fs.map(path, { follow: 'manual', reserve: 2 ** 26 });
  const database = { view, reader: read(view), isOutdated: false };
  view.on('change', () => {
    database.isOutdated = true;
  });
  return database;
}

/** Goes on to the newest edition, if there is a newer one: the same view, the same buffer, other bytes. */
async function newest(database: Database): Promise<Reader<CityResponse>> {
  if (database.isOutdated) {
    database.isOutdated = false;
    await database.view.advance();
    database.reader = read(database.view);
  }
  return database.reader;
}

/** A Buffer over the view, not a copy of it: mmdb-lib reads the shared memory itself. */
function read({ buffer, size }: View): Reader<CityResponse> {
  return new Reader(Buffer.from(buffer, 0, size));
}
