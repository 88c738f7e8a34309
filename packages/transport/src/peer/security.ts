/**
 * How two nodes know each other, and who may listen in.
 *
 * - `tls`: each shows a certificate of the cluster's authority, which names the node and its cluster. Where
 *   it names hosts, who connects looks that the node is at one of them; without it is good everywhere.
 * - `token`: each proves that it has the join token, by a pre-shared key of TLS 1.3 that is made from it. The
 *   exchange is ephemeral (ECDHE): who learns the token later cannot read what was recorded before.
 * - `none`: nobody is asked anything, so both ends must be on this machine.
 *
 * INVARIANT: a socket is handed on when its peer has proved itself, not before.
 */
import { constants, scrypt, X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import type { Socket } from 'node:net';
import {
  type ConnectionOptions,
  checkServerIdentity,
  createSecureContext,
  type PeerCertificate,
  TLSSocket,
  type TlsOptions,
} from 'node:tls';
import { promisify } from 'node:util';
import { FsError } from '../errors.ts';
import { type Certified, certifiedIn } from './certified.ts';
import { peerLimits } from './peer-limits.ts';
import { formatPeerUrl, isLoopback, type PeerAddress } from './peer-url.ts';

export type PeerSecurity =
  | {
      readonly kind: 'tls';
      /** The cluster's authority, and this node's certificate and key; each in PEM. */
      readonly ca: string | Buffer;
      readonly cert: string | Buffer;
      readonly key: string | Buffer;
    }
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'none' };

/** What node:tls needs for either end; undefined where bytes travel as they are. */
export type PeerTls = { readonly server: TlsOptions; readonly client: ConnectionOptions } | undefined;

/** Shorter ones can be guessed from what one handshake shows. */
const shortestToken = 16;
const pskIdentity = 'clusterfs-peer-1';

const common = {
  minVersion: 'TLSv1.3',
  // No tickets: every connection proves anew who it is.
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const;

/**
 * Makes ready what the handshakes need.
 *
 * @throws FsError EINVAL when certificate, key or token are not usable.
 */
export async function prepareSecurity(security: PeerSecurity): Promise<PeerTls> {
  switch (security.kind) {
    case 'none':
      return undefined;
    case 'tls': {
      const { ca, cert, key } = security;
      const mine = { ...common, ca, cert, key };
      requireUsable(security);
      return {
        server: {
          ...mine,
          requestCert: true,
          rejectUnauthorized: true,
          handshakeTimeout: peerLimits.handshakeMs,
        },
        client: { ...mine, rejectUnauthorized: true, checkServerIdentity: checkHost },
      };
    }
    case 'token': {
      const psk = await keyOf(security.token);
      // The one suite of TLS 1.3 that OpenSSL takes for a key without a hash of its own: SHA-256's.
      const mine = { ...common, ciphers: 'TLS_AES_128_GCM_SHA256' };
      return {
        server: {
          ...mine,
          pskCallback: (_socket, identity) => (identity === pskIdentity ? psk : null),
          handshakeTimeout: peerLimits.handshakeMs,
        },
        client: {
          ...mine,
          pskCallback: () => ({ psk, identity: pskIdentity }),
          // A server may answer with a certificate instead of the key: none is trusted, whatever its name.
          ca: [],
          checkServerIdentity: () => new Error('the server did not prove the token'),
        },
      };
    }
  }
}

function requireUsable({ ca, cert, key }: { readonly [K in 'ca' | 'cert' | 'key']: string | Buffer }): void {
  try {
    createSecureContext({ ca, cert, key });
    // An authority that cannot be read is passed over there, and then nobody is trusted.
    new X509Certificate(ca);
  } catch (cause) {
    const why = `certificate, key or authority are not usable, or do not belong together (${String(cause)})`;
    throw new FsError('EINVAL', 'connect', { why, cause });
  }
}

/** Names belong to nodes, hosts are a further condition where the certificate has them. */
function checkHost(host: string, certificate: PeerCertificate): Error | undefined {
  const hasHosts = /(^|, )(DNS|IP Address):/.test(certificate.subjectaltname ?? '');
  return hasHosts ? checkServerIdentity(host, certificate) : undefined;
}

/** Costs a guesser some 50 ms for each token that it tries. */
async function keyOf(text: string): Promise<Buffer> {
  // A file of it ends with a newline.
  const token = text.trim();
  if (token.length < shortestToken) {
    throw new FsError('EINVAL', 'connect', {
      why: `a join token has at least ${shortestToken} characters; make one with: clusterfs cert token`,
    });
  }
  return (await promisify(scrypt)(token.normalize(), pskIdentity, 32)) as Buffer;
}

const openAddress = (path: string): FsError =>
  new FsError('EACCES', 'connect', {
    path,
    why:
      'without security nodes talk on loopback addresses only; give all of them a token ' +
      '(clusterfs cert token), or certificates (clusterfs cert init)',
  });

/** Where to listen without security: an address of this machine that nobody else reaches, or EACCES. */
export async function loopbackAddress(address: PeerAddress): Promise<string> {
  const found = await lookup(address.host, { all: true });
  const [first] = found;
  if (first === undefined || !found.every(({ address: each }) => isLoopback(each))) {
    throw openAddress(formatPeerUrl(address));
  }
  return first.address;
}

/** @throws FsError EACCES unless both ends of `socket` are on this machine. */
export function requireLoopback(socket: Socket, url: string): void {
  if (isLoopback(socket.remoteAddress) && isLoopback(socket.localAddress)) return;
  throw openAddress(url);
}

/** Whom the peer's certificate names; undefined where there are no certificates. */
export function certifiedBy(socket: Socket, { kind }: PeerSecurity): Certified | undefined {
  if (kind !== 'tls' || !(socket instanceof TLSSocket)) return undefined;
  return certifiedIn({ ...socket.getPeerCertificate().subject });
}

/** Why the peer's certificate was not taken, as OpenSSL names it; undefined when that is not what failed. */
export function distrustOf(socket: Socket): string | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  const reason: unknown = socket.authorizationError;
  return typeof reason === 'string' ? reason : undefined;
}
