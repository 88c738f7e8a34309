/** A worker as it is without cluster-fs: it loads the databases into memory of its own. */
import { readFileSync } from 'node:fs';
import { type CityResponse, Reader } from 'mmdb-lib';
import { work } from './workload.ts';

const [, , directory = ''] = process.argv;
const open = (name: string) => new Reader<CityResponse>(readFileSync(`${directory}/${name}`));
const databases = { ipv4: open('city-ipv4.mmdb'), ipv6: open('city-ipv6.mmdb') };

await work(async () => databases);
