/** An edition of the databases, and its right answers: looked up in copies of our own, to compare with. */
import { type CityResponse, Reader } from 'mmdb-lib';
import { makePass, passCount } from './workload.ts';

export interface Edition {
  /** When the IPv6 database was built, in milliseconds since 1970; tells editions apart. */
  readonly builtMs: number;
  /** Of each pass. */
  readonly fingerprints: readonly number[];
}

export function readEdition(ipv4: Buffer, ipv6: Buffer): Edition {
  const databases = { ipv4: new Reader<CityResponse>(ipv4), ipv6: new Reader<CityResponse>(ipv6) };
  const passes = Array.from({ length: passCount }, (_, number) => makePass(databases, number));
  return {
    builtMs: databases.ipv6.metadata.buildEpoch.getTime(),
    fingerprints: passes.map(({ fingerprint }) => fingerprint),
  };
}
