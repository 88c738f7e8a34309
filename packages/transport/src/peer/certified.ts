/**
 * What the certificate of a node says of it, in its subject: CN is the node's name, O is the cluster's id in
 * hex. An authority may serve several clusters: whoever it made a certificate for is a node of one of them.
 */
import { X509Certificate } from 'node:crypto';
import { FsError } from '../errors.ts';
import type { PeerSecurity } from './security.ts';

export interface Certified {
  readonly name: string;
  /** In hex, as formatClusterId writes it. */
  readonly clusterId: string;
}

/** A cluster's id as people and certificates have it: 32 digits. */
export const formatClusterId = (clusterId: Uint8Array): string => Buffer.from(clusterId).toString('hex');

/** Reads a subject as node:tls tells it; what is missing, or there twice, is ''. */
export function certifiedIn(subject: Readonly<Record<string, unknown>>): Certified {
  const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
  return { name: textOf(subject.CN), clusterId: textOf(subject.O) };
}

/**
 * The cluster that a node is of by its own certificate; undefined when it has none that says so.
 *
 * @throws FsError EINVAL for what is no certificate.
 */
export function certifiedCluster(security: PeerSecurity): Uint8Array | undefined {
  if (security.kind !== 'tls') return undefined;
  let subject: Readonly<Record<string, unknown>>;
  try {
    subject = new X509Certificate(security.cert).toLegacyObject().subject as never;
  } catch (cause) {
    throw new FsError('EINVAL', 'serve', { why: 'the certificate of the node is none', cause });
  }
  const id = Buffer.from(certifiedIn(subject).clusterId, 'hex');
  return id.length === 16 ? id : undefined;
}
