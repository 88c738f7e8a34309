/** What certificates say, read with node:crypto: which authority, which node, until when. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { FsError } from '@cluster-fs/transport';
import { certifiedIn } from '@cluster-fs/transport/peer';

export interface CertificateReport {
  readonly file: string;
  readonly kind: 'authority' | 'node';
  /** Whose it is: CN. */
  readonly name: string;
  /** In hex: O. */
  readonly clusterId: string;
  /** CN of who signed it. */
  readonly issuer: string;
  /** Names and addresses that it is good at; none: every one. */
  readonly hosts: readonly string[];
  readonly validFrom: string;
  readonly validUntil: string;
  readonly state: 'valid' | 'expired' | 'not yet valid';
  /** SHA-256 of the certificate, in hex with colons, as openssl prints it. */
  readonly fingerprint: string;
  readonly serial: string;
}

const pemBlock = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * All certificates of a file in PEM, in its order.
 *
 * @throws FsError EINVAL when there is none, or one that cannot be read; ENOENT and its like as open(2).
 */
export async function readCertificates(file: string): Promise<readonly X509Certificate[]> {
  const blocks = (await readFile(file, 'utf8')).match(pemBlock);
  if (blocks === null) throw new FsError('EINVAL', 'read', { path: file, why: 'it holds no certificate' });
  return blocks.map((block) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      const why = `its certificate cannot be read: ${(cause as Error).message}`;
      throw new FsError('EINVAL', 'read', { path: file, why, cause });
    }
  });
}

/** @throws as readCertificates. */
export async function describeFile(file: string, now: number): Promise<readonly CertificateReport[]> {
  return (await readCertificates(file)).map((certificate) => describe(file, certificate, now));
}

function describe(file: string, certificate: X509Certificate, now: number): CertificateReport {
  const from = Date.parse(certificate.validFrom);
  const until = Date.parse(certificate.validTo);
  const { name, clusterId } = certifiedIn(fieldsOf(certificate.subject));
  return {
    file,
    kind: certificate.ca ? 'authority' : 'node',
    name,
    clusterId,
    issuer: certifiedIn(fieldsOf(certificate.issuer)).name,
    hosts: hostsOf(certificate),
    validFrom: new Date(from).toISOString(),
    validUntil: new Date(until).toISOString(),
    state: now > until ? 'expired' : now < from ? 'not yet valid' : 'valid',
    fingerprint: certificate.fingerprint256,
    serial: certificate.serialNumber,
  };
}

/** `CN=...` by lines; a field that is there twice is no text, as node:tls has it. */
export function fieldsOf(name: string): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const line of name.split('\n')) {
    const at = line.indexOf('=');
    const key = line.slice(0, at);
    fields[key] = key in fields ? undefined : line.slice(at + 1);
  }
  return fields;
}

/** Hosts for which a certificate was made. */
export const hostsOf = ({ subjectAltName = '' }: X509Certificate): readonly string[] =>
  [...subjectAltName.matchAll(/(?:^|, )(?:DNS|IP Address):([^,]+)/g)].map(([, host = '']) => host);
