/**
 * Makes X.509 certificates: of an authority, which may sign for nodes and nothing else, and of nodes, which
 * may sign nothing. What the link of two nodes reads in them is in the transport's `certified.ts`.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
// Order: the library looks for it when it is loaded.
import 'reflect-metadata';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

/** Certificate and key in PEM. */
export interface Issued {
  readonly cert: string;
  readonly key: string;
}

export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

export interface NodeSubject {
  readonly name: string;
  /** In hex. */
  readonly clusterId: string;
  /** Names and addresses at which the node is found; none: at every one. */
  readonly hosts: readonly string[];
}

const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** A private key in PEM (PKCS #8). */
export const makeKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;

/** An authority for one cluster. */
export async function issueAuthority(clusterId: string, validity: Validity): Promise<Issued> {
  const key = makeKey();
  const { publicKey, privateKey } = await importKeys(key);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    ...validity,
    name: [{ O: [clusterId] }, { CN: ['cluster-fs authority'] }],
    keys: { publicKey, privateKey },
    signingAlgorithm: ecdsa,
    extensions: [
      // It signs nodes directly: no authority below it.
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(publicKey),
    ],
  });
  return { cert: pemOf(certificate), key };
}

/** The certificate for a node whose key is `key`, signed by `authority`. */
export async function issueNode(
  { name, clusterId, hosts }: NodeSubject,
  { key, authority, ...validity }: Validity & { readonly key: string; readonly authority: Issued },
): Promise<string> {
  const { publicKey } = await importKeys(key);
  const signer = await importKeys(authority.key);
  const extensions: Extension[] = [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    // Either node may be the one that connects.
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
    await SubjectKeyIdentifierExtension.create(publicKey),
    await AuthorityKeyIdentifierExtension.create(signer.publicKey),
  ];
  if (hosts.length > 0) {
    extensions.push(
      new SubjectAlternativeNameExtension(
        hosts.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
      ),
    );
  }
  const certificate = await X509CertificateGenerator.create({
    ...validity,
    subject: [{ O: [clusterId] }, { CN: [name] }],
    issuer: new X509Certificate(authority.cert).subjectName,
    publicKey,
    signingKey: signer.privateKey,
    signingAlgorithm: ecdsa,
    extensions,
  });
  return pemOf(certificate);
}

const pemOf = (certificate: X509Certificate): string => `${certificate.toString('pem')}\n`;

/** The keys of a private key in PEM, as WebCrypto has them. */
async function importKeys(pem: string) {
  const key = createPrivateKey(pem);
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' });
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const { subtle } = webcrypto;
  return {
    privateKey: await subtle.importKey('pkcs8', pkcs8, ecdsa, false, ['sign']),
    publicKey: await subtle.importKey('spki', spki, ecdsa, true, ['verify']),
  };
}
