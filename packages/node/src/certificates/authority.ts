/**
 * A cluster's authority, in a directory:
 *
 *   ca.crt     its certificate: goes to every node
 *   ca.key     its key: whoever has it can make nodes of this cluster. It needs to be on no node
 *   NAME.crt   the certificate of a node, and
 *   NAME.key   its key: go to that node
 *
 * INVARIANT: a key is never overwritten, and read by its owner only (mode 0600).
 */
import { createPrivateKey, randomBytes, type X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { FsError } from '@cluster-fs/transport';
import { certifiedIn, formatClusterId } from '@cluster-fs/transport/peer';
import { makeDirectory } from '../make-directory.ts';
import { fieldsOf, hostsOf, readCertificates } from './describe.ts';
import { type Issued, issueAuthority, issueNode, makeKey, type Validity } from './issue.ts';
import { writeNewFile } from './new-file.ts';

export const defaultDays = { authority: 3650, node: 365 } as const;

const dayMs = 86_400_000;
/** Clocks of the nodes may be behind ours. */
const clockSkewMs = 3_600_000;

export interface PairOfFiles {
  readonly cert: string;
  readonly key: string;
}

/**
 * Makes an authority for a new cluster, and `directory` where it is missing.
 *
 * @throws FsError EEXIST when one is there.
 */
export async function makeAuthority(
  directory: string,
  { days = defaultDays.authority, now = Date.now() }: { readonly days?: number; readonly now?: number } = {},
): Promise<PairOfFiles & { readonly clusterId: string }> {
  const files = filesOf(directory, 'ca');
  const why = 'an authority is there; nodes that it signed would be lost with it';
  for (const path of [files.cert, files.key]) {
    if (existsSync(path)) throw new FsError('EEXIST', 'open', { path, why });
  }
  const clusterId = formatClusterId(randomBytes(16));
  const { cert, key } = await issueAuthority(clusterId, validFor(days, now));
  makeDirectory(directory);
  await writePair(files, { cert, key }, why);
  return { ...files, clusterId };
}

export interface NodeCertificateOptions {
  readonly hosts?: readonly string[];
  readonly days?: number;
  readonly now?: number;
  /** A new certificate for the key that the node has; hosts stay unless others are given. */
  readonly renew?: boolean;
}

/**
 * Makes a certificate for a node, and a key unless it is renewed.
 *
 * @throws FsError ENOENT when no authority is there, or nothing to renew; EEXIST when the node has one;
 * EINVAL when the authority is of no use.
 */
export async function makeNode(
  directory: string,
  name: string,
  { hosts, days = defaultDays.node, now = Date.now(), renew = false }: NodeCertificateOptions = {},
): Promise<PairOfFiles & { readonly clusterId: string }> {
  const { authority, certificate, clusterId } = await readAuthority(directory, now);
  const files = filesOf(directory, name);
  const asked = validFor(days, now);
  const last = new Date(certificate.validTo);
  // A certificate that outlives its authority is worth nothing from there.
  const validity = { ...asked, notAfter: asked.notAfter < last ? asked.notAfter : last };
  const issue = (key: string, at: readonly string[]): Promise<string> =>
    issueNode({ name, clusterId, hosts: at }, { ...validity, key, authority });
  if (renew) {
    const why = 'there is nothing to renew; make it without --renew';
    const [old] = await explained(readCertificates(files.cert), files.cert, why);
    const key = await explained(readFile(files.key, 'utf8'), files.key, why);
    await replaceFile(files.cert, await issue(key, hosts ?? (old === undefined ? [] : hostsOf(old))));
    return { ...files, clusterId };
  }
  const why = `node '${name}' has a certificate; make a new one for its key with --renew`;
  for (const path of [files.cert, files.key]) {
    if (existsSync(path)) throw new FsError('EEXIST', 'open', { path, why });
  }
  const key = makeKey();
  await writePair(files, { cert: await issue(key, hosts ?? []), key }, why);
  return { ...files, clusterId };
}

async function readAuthority(directory: string, now: number) {
  const { cert, key } = filesOf(directory, 'ca');
  const why = `no authority is there; make one with: clusterfs cert init ${directory}`;
  const certificate = (await explained(readCertificates(cert), cert, why))[0] as X509Certificate;
  const keyText = await explained(readFile(key, 'utf8'), key, why);
  if (!isKeyOf(certificate, keyText)) {
    throw new FsError('EINVAL', 'read', { path: key, why: `it is not the key of ${cert}` });
  }
  if (now > Date.parse(certificate.validTo)) {
    const ended = `the authority was valid until ${certificate.validTo}`;
    throw new FsError('EINVAL', 'read', { path: cert, why: `${ended}; make another in a new directory` });
  }
  const { clusterId } = certifiedIn(fieldsOf(certificate.subject));
  if (!/^[0-9a-f]{32}$/.test(clusterId)) {
    throw new FsError('EINVAL', 'read', { path: cert, why: 'it names no cluster: its O is no cluster id' });
  }
  const authority: Issued = { cert: certificate.toString(), key: keyText };
  return { authority, certificate, clusterId };
}

function isKeyOf(certificate: X509Certificate, key: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(key));
  } catch (error) {
    // Whatever OpenSSL says of it: it is no key.
    if (error instanceof Error) return false;
    throw error;
  }
}

const filesOf = (directory: string, name: string): PairOfFiles => ({
  cert: join(directory, `${name}.crt`),
  key: join(directory, `${name}.key`),
});

const validFor = (days: number, now: number): Validity => ({
  notBefore: new Date(now - clockSkewMs),
  notAfter: new Date(now + days * dayMs),
});

/** The key first: a certificate without its key is of no use. */
async function writePair(files: PairOfFiles, { cert, key }: Issued, why: string): Promise<void> {
  await writeNewFile(files.key, key, { mode: 0o600, why });
  try {
    await writeNewFile(files.cert, cert, { mode: 0o644, why });
  } catch (error) {
    await rm(files.key, { force: true });
    throw error;
  }
}

/** Who reads it meanwhile has the old or the new one, whole. */
async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.new`;
  await writeNewFile(temporary, text, { mode: 0o644, why: 'it is of another run' });
  try {
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** The result of `reading`; when the file is missing, the error says what to do. */
async function explained<T>(reading: Promise<T>, path: string, why: string): Promise<T> {
  try {
    return await reading;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    throw new FsError('ENOENT', 'open', { path, why, cause });
  }
}
