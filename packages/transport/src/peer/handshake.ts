/** What two nodes must agree on before either trusts the other with anything; and what to say when not. */
import { type ErrorCode, FsError } from '../errors.ts';
import { type Certified, formatClusterId } from './certified.ts';
import { type PeerIdentity, peerProtocolVersion } from './peer-messages.ts';

/** Who is expected at the other end. */
export interface ExpectedPeer {
  readonly nodeId?: number;
  readonly name?: string;
}

interface Claim {
  readonly mine: PeerIdentity;
  readonly theirs: PeerIdentity;
  /** Whom the peer's certificate names, where there is one. */
  readonly certified: Certified | undefined;
  readonly url: string;
}

/** Whether a node does not know yet which cluster it will be of: it joins one for the first time. */
const isUnknown = ({ clusterId }: PeerIdentity): boolean => clusterId.every((byte) => byte === 0);

/** @throws FsError EACCES when the other node is none of this cluster, or not who it says. */
export function checkIdentity({ mine, theirs, certified, url }: Claim): void {
  if (!isUnknown(mine) && !isUnknown(theirs) && Buffer.compare(mine.clusterId, theirs.clusterId) !== 0) {
    throw new FsError('EACCES', 'hello', {
      path: url,
      why:
        'the nodes belong to different clusters: look at the address, and at the cluster that each was ' +
        'started for',
    });
  }
  if (certified !== undefined) checkCertified(certified, theirs, url);
}

/** Requires: the cluster that they say is ours. */
function checkCertified({ name, clusterId }: Certified, theirs: PeerIdentity, url: string): void {
  const cluster = formatClusterId(theirs.clusterId);
  if (clusterId !== cluster) {
    throw new FsError('EACCES', 'hello', {
      path: url,
      why:
        `node '${theirs.name}' shows a certificate of cluster '${clusterId}' and not of ${cluster}: ` +
        'make it one with the authority of this cluster',
    });
  }
  if (name !== theirs.name) {
    throw new FsError('EACCES', 'hello', {
      path: url,
      why:
        `node '${theirs.name}' shows a certificate of '${name}': start it with that name, or make it ` +
        `one with: clusterfs cert node DIR ${theirs.name}`,
    });
  }
}

/**
 * In every version of the protocol the version comes first, and what is behind it may be another.
 *
 * @throws FsError EPROTONOSUPPORT
 */
export function checkVersion([version]: readonly unknown[]): void {
  if (version === peerProtocolVersion || typeof version !== 'number') return;
  throw new FsError('EPROTONOSUPPORT', 'hello', {
    why:
      `one node speaks version ${version} of the protocol between nodes, the other ${peerProtocolVersion}: ` +
      'run the same release of cluster-fs on all of them',
  });
}

/** Who says a hello, or a welcome. Its protocol version has been looked at. */
export function identityIn({ clusterId, nodeId, name, incarnation }: PeerIdentity): PeerIdentity {
  return { clusterId, nodeId, name, incarnation };
}

/** @throws FsError EACCES when another node answers than was looked for. */
export function checkExpected(expect: ExpectedPeer, { nodeId, name }: PeerIdentity, url: string): void {
  if (expect.nodeId !== undefined && expect.nodeId !== nodeId) {
    const why = `node ${nodeId} ('${name}') answers where node ${expect.nodeId} is expected`;
    throw new FsError('EACCES', 'hello', { path: url, why });
  }
  if (expect.name !== undefined && expect.name !== name) {
    const why = `node '${name}' answers where '${expect.name}' is expected`;
    throw new FsError('EACCES', 'hello', { path: url, why });
  }
}

/** `reason`: what OpenSSL says, without where in its sources. */
type SocketError = Pick<NodeJS.ErrnoException, 'code' | 'message'> & { readonly reason?: string };

const mismatch =
  'look that both nodes have the same kind of security, the same token or authority, and certificates ' +
  'that are in date';

/**
 * An error of a socket whose peer is not known yet, so that it says what to do. `distrust` is why its
 * certificate was not taken, where that is what failed: the socket itself tells of its end only.
 */
export function explainFailure(error: Error, url: string, distrust?: string): FsError {
  if (error instanceof FsError && error.code !== 'ECONNRESET') return error;
  const cause = causeOf(error);
  const {
    code = '',
    message,
    reason,
  }: SocketError = distrust === undefined ? (cause as SocketError) : { code: distrust, message: distrust };
  const said = reason ?? firstLine(message);
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|UNEXPECTED_MESSAGE|HTTP_REQUEST/.test(code)) {
    return new FsError('EPROTO', 'connect', {
      path: url,
      why: `the other end does not speak TLS: ${mismatch}`,
      cause,
    });
  }
  if (/EXPIRED|NOT_YET_VALID/.test(code)) {
    const why = `a certificate is out of date, or a clock is wrong; look with: clusterfs cert show (${said})`;
    return new FsError('EACCES', 'connect', { path: url, why, cause });
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const command = 'clusterfs cert node DIR NAME --host HOST';
    const why = `its certificate is for another host; make it one with: ${command} (${said})`;
    return new FsError('EACCES', 'connect', { path: url, why, cause });
  }
  if (distrust !== undefined || distrusted.test(code)) {
    return new FsError('EACCES', 'connect', { path: url, why: `${mismatch} (${said})`, cause });
  }
  if (code === 'ENOTFOUND' || code.startsWith('EAI_')) {
    return new FsError('EHOSTUNREACH', 'connect', {
      path: url,
      why: `nobody knows its address (${said})`,
      cause,
    });
  }
  if (code === 'ECONNRESET' || code === 'EPIPE' || code === '') {
    const why = `the other end closed the connection before it knew us: ${mismatch}`;
    return new FsError('ECONNRESET', 'connect', { path: url, why, cause });
  }
  return new FsError(code as ErrorCode, 'connect', { path: url, why: said, cause });
}

/** What node:tls calls a peer that has not proved itself: errors of the handshake, and X509_V_ERR_*. */
const distrusted = /^ERR_(SSL|TLS)_|CERT|SIGNATURE|ISSUER|CHAIN|PURPOSE|INVALID_CA|PATH_LENGTH|^UNSPECIFIED$/;

/** What the socket said, below what was made of it. */
function causeOf(error: Error): Error {
  return error.cause instanceof Error ? causeOf(error.cause) : error;
}

const firstLine = (message: string): string => message.split('\n')[0]?.trim() ?? '';
