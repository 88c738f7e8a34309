/**
 * What a worker does: it looks up the same addresses in every process, and tells a fingerprint of the
 * answers.
 */
import { setImmediate } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import type { CityResponse, Reader } from 'mmdb-lib';

/** Addresses of one pass. */
export const passLength = 2000;
/** After so many passes the addresses come again. By then they have been all over the databases. */
export const passCount = 25;
/** An address that is reserved for documentation: the database knows nothing of it, its next edition does. */
export const newcomer = '2001:db8::1';

export interface Databases {
  readonly ipv4: Reader<CityResponse>;
  readonly ipv6: Reader<CityResponse>;
}

/** What a worker tells after each pass. */
export interface Pass {
  readonly number: number;
  /** When the IPv6 database that answered was built, in milliseconds since 1970. */
  readonly edition: number;
  readonly fingerprint: number;
}

/** Makes one pass after the other and tells of each, until a message says stop. */
export async function work(databases: () => Promise<Databases>): Promise<void> {
  let isStopped = false;
  process.once('message', () => {
    isStopped = true;
  });
  for (let number = 0; !isStopped && process.connected; number++) {
    process.send?.(makePass(await databases(), number));
    await setImmediate();
  }
  process.disconnect();
}

/** Looks up all addresses of a pass. */
export function makePass({ ipv4, ipv6 }: Databases, number: number): Pass {
  let fingerprint = fingerprintOf(ipv6, newcomer, 0);
  const first = (number % passCount) * passLength;
  for (let index = first + 1; index < first + passLength; index++) {
    fingerprint =
      index % 2 === 0
        ? fingerprintOf(ipv4, ipv4Address(index), fingerprint)
        : fingerprintOf(ipv6, ipv6Address(index), fingerprint);
  }
  return { number, edition: ipv6.metadata.buildEpoch.getTime(), fingerprint };
}

function fingerprintOf(database: Reader<CityResponse>, address: string, before: number): number {
  // The types of mmdb-lib are those of MaxMind's own databases; these here are flat.
  const place = database.get(address) as unknown as { country_code: string; city: string } | null;
  return crc32(place === null ? '-' : place.country_code + place.city, before);
}

/** Multiplied by a large odd number, an index becomes a number anywhere in 32 bits. */
const scatter = (index: number, factor: number): number => Math.imul(index, factor) >>> 0;

function ipv4Address(index: number): string {
  const bits = scatter(index, 0x9e3779b1);
  return `${bits >>> 24}.${(bits >>> 16) & 255}.${(bits >>> 8) & 255}.${bits & 255}`;
}

/** Somewhere in the parts of 2000::/3 that are given out. */
function ipv6Address(index: number): string {
  const [high, low] = [scatter(index, 0x9e3779b1), scatter(index, 0x85ebca6b)];
  const region = [0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00][index % 5] ?? 0;
  const groups = [region + (high >>> 28), (high >>> 12) & 0xffff, low >>> 16, low & 0xffff];
  return `${groups.map((group) => group.toString(16)).join(':')}::1`;
}
