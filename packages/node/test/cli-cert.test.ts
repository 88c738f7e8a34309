/** `clusterfs cert`: what it writes, what it never overwrites, and what openssl and Node say of it. */
import { X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { makeAuthority } from '../src/certificates/authority.ts';
import { makeHome, run } from './cli-process.ts';

const home = makeHome();
const pki = join(home, 'pki');
const at = (name: string): string => join(pki, name);
const certificate = (name: string): X509Certificate => new X509Certificate(readFileSync(at(name)));

async function text(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(['cert', ...args]);
  expect({ code, stderr }, args.join(' ')).toEqual({ code: 0, stderr: '' });
  return stdout;
}

async function failure(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(['cert', ...args]);
  expect({ code, stdout, lines: stderr.split('\n').length }).toEqual({ code: 1, stdout: '', lines: 2 });
  return stderr;
}

beforeAll(async () => {
  await text('init', pki);
  await text('node', pki, 'a');
});

test('keys are for their owner alone', async () => {
  for (const name of ['ca.key', 'a.key']) expect(statSync(at(name)).mode & 0o777).toBe(0o600);
  expect(statSync(pki).mode & 0o777).toBe(0o700);
});

test('the authority signs nodes, and nodes sign nothing', () => {
  const [authority, node] = [certificate('ca.crt'), certificate('a.crt')];
  expect(authority.ca).toBe(true);
  expect(node.ca).toBe(false);
  expect(node.checkIssued(authority)).toBe(true);
  expect(node.verify(authority.publicKey)).toBe(true);
});

test('show says whose they are, and until when', async () => {
  await text('node', pki, 'shown', '--host', '10.0.0.7', 'shown.example', '--days', '90');
  const { certificates } = JSON.parse(await text('show', '--json', at('ca.crt'), at('shown.crt')));
  expect(certificates).toMatchObject([
    { file: at('ca.crt'), kind: 'authority', hosts: [], state: 'valid' },
    {
      kind: 'node',
      name: 'shown',
      issuer: 'cluster-fs authority',
      hosts: ['10.0.0.7', 'shown.example'],
      state: 'valid',
      fingerprint: certificate('shown.crt').fingerprint256,
    },
  ]);
  const [authority, node] = certificates;
  expect(authority.clusterId).toMatch(/^[0-9a-f]{32}$/);
  expect(node.clusterId).toBe(authority.clusterId);
  expect(daysUntil(authority.validUntil)).toBeCloseTo(3650, 0);
  expect(daysUntil(node.validUntil)).toBeCloseTo(90, 0);
  const lines = await text('show', at('shown.crt'));
  expect(lines).toMatch(/^WHOSE +node 'shown'$/m);
  expect(lines).toMatch(/^HOSTS +10\.0\.0\.7, shown\.example$/m);
});

test('show says what has expired', async () => {
  const old = join(home, 'old');
  await makeAuthority(old, { days: 10, now: Date.now() - 11 * dayMs });
  expect(await text('show', join(old, 'ca.crt'))).toMatch(/^VALID .*: EXPIRED$/m);
  expect(await failure('node', old, 'a')).toContain(
    `EINVAL: invalid argument, read '${join(old, 'ca.crt')}'`,
  );
});

test('a certificate does not outlive its authority', async () => {
  const short = join(home, 'short');
  await text('init', short, '--days', '5');
  const { validUntil } = JSON.parse(await text('node', short, 'a', '--json'));
  expect(daysUntil(validUntil)).toBeCloseTo(5, 0);
});

test('renewed, a node keeps its key and its hosts', async () => {
  await text('node', pki, 'renewed', '--host', 'r.example');
  const [key, before] = [readFileSync(at('renewed.key')), certificate('renewed.crt')];
  await text('node', pki, 'renewed', '--renew');
  const after = certificate('renewed.crt');
  expect(readFileSync(at('renewed.key'))).toEqual(key);
  expect(after.serialNumber).not.toBe(before.serialNumber);
  expect(after.publicKey.equals(before.publicKey)).toBe(true);
  expect(after.subjectAltName).toBe('DNS:r.example');
});

describe('what is there is never overwritten', () => {
  test.each([
    ['an authority', ['init', pki], 'ca.crt'],
    ['a node', ['node', pki, 'a'], 'a.crt'],
  ])('%s', async (_, args, file) => {
    const before = readFileSync(at(file));
    expect(await failure(...args)).toContain(`EEXIST: file already exists, open '${at(file)}'`);
    expect(readFileSync(at(file))).toEqual(before);
  });

  test('not a key either that has lost its certificate', async () => {
    const lost = join(home, 'lost');
    mkdirSync(lost);
    writeFileSync(join(lost, 'ca.key'), 'precious');
    expect(await failure('init', lost)).toContain('EEXIST');
    expect(readFileSync(join(lost, 'ca.key'), 'utf8')).toBe('precious');
  });
});

test('errors say what to do', async () => {
  const nowhere = join(home, 'nowhere');
  expect(await failure('node', nowhere, 'a')).toMatch(/ENOENT: .*'.*nowhere\/ca\.crt' .*clusterfs cert init/);
  expect(await failure('node', pki, 'new', '--renew')).toMatch(/ENOENT: .*'.*new\.crt' .*without --renew/);
  expect(await failure('init', '/proc/none/pki')).toMatch(/ENOENT: .*'\/proc\/none'/);
  expect(await failure('show', at('a.key'))).toMatch(/EINVAL: .*'.*a\.key' \(it holds no certificate\)/);
  const mixed = join(home, 'mixed');
  await text('init', mixed);
  rmSync(join(mixed, 'ca.key'));
  writeFileSync(join(mixed, 'ca.key'), readFileSync(at('ca.key')));
  expect(await failure('node', mixed, 'a')).toMatch(/EINVAL: .*'.*mixed\/ca\.key' \(it is not the key of/);
});

test.each([
  ['a name that leaves the directory', ['node', pki, '../a']],
  ['the name of the authority', ['node', pki, 'ca']],
  ['no name', ['node', pki]],
  ['no day', ['init', join(home, 'never'), '--days', '0']],
  ['a host with a port', ['node', pki, 'p', '--host', 'a.example:7000']],
])('%s is called wrongly', async (_, args) => {
  const { code, stderr } = await run(['cert', ...args]);
  expect({ code, stderr }).toEqual({
    code: 2,
    stderr: expect.stringMatching(/^clusterfs cert (init|node): /),
  });
});

test('each token is another one, of 256 bits', async () => {
  const tokens = new Set([await text('token'), `${JSON.parse(await text('token', '--json')).token}\n`]);
  expect(tokens.size).toBe(2);
  for (const token of tokens) expect(Buffer.from(token, 'base64url')).toHaveLength(32);
});

test.each(['init', 'node', 'show', 'token'])('%s --help has an example', async (verb) => {
  const help = await text(verb, '--help');
  expect(help).toMatch(new RegExp(`^Usage: clusterfs cert ${verb} `));
  expect(help).toMatch(new RegExp(`^Examples?:\\n {2}\\$ .*clusterfs cert ${verb}`, 'm'));
  expect(help).toContain('--json');
});

const dayMs = 86_400_000;
const daysUntil = (date: string): number => (Date.parse(date) - Date.now()) / dayMs;
