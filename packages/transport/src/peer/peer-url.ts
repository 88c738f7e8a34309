/** Where a node listens for other nodes: `tcp://HOST:PORT`, an IPv6 address in brackets. */
import { FsError } from '../errors.ts';

export interface PeerAddress {
  readonly host: string;
  /** 0 stands for any free one, and makes sense for who listens. */
  readonly port: number;
}

/** Loaded with the first URL: most who know how to read one never do. */
const net = () => process.getBuiltinModule('node:net');

const shape = /^tcp:\/\/(?:\[([0-9a-f:.]+(?:%[\w.-]+)?)\]|([\w.-]+)):(\d{1,5})\/?$/i;

/** @throws FsError EINVAL on anything else. */
export function parsePeerUrl(url: string): PeerAddress {
  const [, v6, name, digits = ''] = shape.exec(url) ?? [];
  const host = v6 ?? name;
  const port = Number(digits);
  if (host === undefined || port > 65_535 || (v6 !== undefined && !net().isIPv6(v6))) {
    throw new FsError('EINVAL', 'connect', {
      path: url,
      why: 'give tcp://HOST:PORT, as tcp://node-1:7070 or tcp://[fd00::1]:7070',
    });
  }
  return { host, port };
}

export const formatPeerUrl = ({ host, port }: PeerAddress): string =>
  `tcp://${net().isIPv6(host) ? `[${host}]` : host}:${port}`;

/** Whether an address leads to this machine and nowhere else. IPv4 in IPv6 counts as IPv4. */
export function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return false;
  const plain = address.replace(/^::ffff:/i, '');
  return net().isIPv4(plain) ? plain.startsWith('127.') : plain === '::1';
}
