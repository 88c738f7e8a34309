/** Options of `clusterfs serve` for a node of a cluster: whom it joins, and what proves who it is. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { FsError } from '@cluster-fs/transport';
import type { PeerAddress, PeerSecurity } from '@cluster-fs/transport/peer';
import { parsePeerUrl } from '@cluster-fs/transport/peer-url';
import { type Command, InvalidArgumentError } from 'commander';
import type { ClusterOptions } from '../cluster/enter.ts';

export interface ClusterCliOptions {
  readonly join?: PeerAddress;
  readonly name?: string;
  readonly tokenFile?: string;
  readonly certDir?: string;
}

export const addClusterOptions = (command: Command): Command =>
  command
    .option('--join <url>', 'tcp://HOST:PORT of a node whose files this one shall have', parseAddress)
    .option('--name <name>', 'of this node in the cluster (default: the name of the host)')
    .option('--token-file <file>', 'the join token that all nodes have (clusterfs cert token)')
    .option('--cert-dir <dir>', 'with ca.crt, NAME.crt and NAME.key of this node (clusterfs cert)');

/** Where other nodes come to: `tcp://HOST:PORT`; undefined for any other URL. */
export const peerAddressIn = (url: string): PeerAddress | undefined =>
  url.startsWith('tcp:') ? parseAddress(url) : undefined;

function parseAddress(url: string): PeerAddress {
  try {
    return parsePeerUrl(url);
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    throw new InvalidArgumentError('Give tcp://HOST:PORT, as tcp://node-1:7070 or tcp://[fd00::1]:7070.');
  }
}

/** What proves this node to others; without anything, nodes of this machine alone may be connected. */
export function clusterOptions({ name = hostname(), tokenFile, certDir }: ClusterCliOptions): ClusterOptions {
  return { name, security: securityOf({ name, tokenFile, certDir }) };
}

interface Proofs {
  readonly name: string;
  readonly tokenFile: string | undefined;
  readonly certDir: string | undefined;
}

function securityOf({ name, tokenFile, certDir }: Proofs): PeerSecurity {
  if (tokenFile !== undefined && certDir !== undefined)
    throw new FsError('EINVAL', 'serve', { why: 'give --token-file or --cert-dir, not both' });
  if (tokenFile !== undefined) return { kind: 'token', token: readText(tokenFile) };
  if (certDir === undefined) return { kind: 'none' };
  return {
    kind: 'tls',
    ca: readText(`${certDir}/ca.crt`),
    cert: readText(
      `${certDir}/${name}.crt`,
      `for node '${name}': give its --name, or see clusterfs cert node`,
    ),
    key: readText(`${certDir}/${name}.key`),
  };
}

function readText(path: string, why?: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new FsError((cause as { code: 'ENOENT' }).code, 'open', { path, why, cause });
  }
}
