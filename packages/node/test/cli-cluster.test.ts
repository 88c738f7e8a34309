/** Nodes of a cluster by the command line: who joins, who is not let in, what `status` and `events` tell. */
import { once } from 'node:events';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { peerLimits } from '@cluster-fs/transport/peer';
import { runDirectory } from 'cluster-fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { makeHome, run, type Served, serve, start } from './cli-process.ts';

const directory = makeHome();
const at = (name: string): string => join(directory, name);
const loopback = ['--listen', 'tcp://127.0.0.1:0'];
/** Who left without a word is gone when its lease is over, after 5 s. */
const goneMs = 30_000;

/** Where others join a node. */
const peerUrl = ({ stdout }: Served): string => /tcp:[^ ,"]+/.exec(stdout())?.[0] ?? '';

async function cert(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(['cert', ...args]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

const token = ['--token-file', at('token')];
const certificates = ['--cert-dir', at('pki')];

beforeAll(async () => {
  for (const name of ['token', 'other-token']) writeFileSync(at(name), await cert('token'), { mode: 0o600 });
  for (const pki of ['pki', 'other-pki']) {
    await cert('init', at(pki));
    for (const name of ['a', 'b']) await cert('node', at(pki), name);
  }
});

describe.each([
  ['a token', token],
  ['certificates', certificates],
  ['nothing, on loopback', []],
])('with %s', (_, proof) => {
  test('a node joins, has the files, and leaves nothing', async () => {
    const home = await serve([...loopback, '--name', 'a', ...proof]);
    const member = await serve(['--join', peerUrl(home), '--name', 'b', ...proof]);
    await member.says(new RegExp(`clusterfs: the files are those of ${peerUrl(home)}\n`));
    writeFileSync(at('content'), 'from b');
    await member.text('put', at('content'), '/file');
    for (const node of [home, member]) expect(await node.text('cat', '/file')).toBe('from b');
    expect(await home.json('status')).toMatchObject({ cluster: { nodes: [{ name: 'b' }] } });
    expect(await member.stop()).toMatchObject({ code: 0, stderr: '' });
    expect(await home.stop()).toMatchObject({ code: 0, stderr: '' });
  });
});

test('a verb fails when the home cannot be reached for longer than a lease', {
  timeout: 60_000,
}, async () => {
  const home = await serve([...loopback, '--name', 'a']);
  const member = await serve(['--join', peerUrl(home), '--name', 'b']);
  writeFileSync(at('content'), 'from b');
  await member.text('put', at('content'), '/file');
  home.process.kill('SIGKILL');
  await home.ended;
  const { code, stderr } = await run(['cat', '/file'], { env: { CLUSTERFS_URL: member.url } });
  expect([code, stderr]).toEqual([1, expect.stringMatching(/^clusterfs cat: ECONNRESET: .*'\/file'/)]);
  await member.stop();
});

test('with --json a node says where others join it', async () => {
  const home = await serve([...loopback, '--json']);
  const { listening } = JSON.parse(home.stdout());
  expect(listening).toEqual([home.url, expect.stringMatching(/^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/)]);
  await home.stop();
});

describe('is not let in', () => {
  let byToken: Served;
  let byCertificate: Served;

  beforeAll(async () => {
    byToken = await serve([...loopback, '--name', 'a', ...token]);
    byCertificate = await serve([...loopback, '--name', 'a', ...certificates]);
  });

  /** How often the two have said that somebody was not let in. */
  const refusals = (): number =>
    `${byToken.stderr()}${byCertificate.stderr()}`.split('clusterfs: not let in: ').length - 1;
  const toToken = () => ['--join', peerUrl(byToken)];
  const toCertificate = () => ['--join', peerUrl(byCertificate)];

  test.each([
    ['another token', () => [...toToken(), '--token-file', at('other-token')], /EACCES: .*same token/],
    ['nothing, for a token', toToken, /(EPROTO|ECONNRESET): .*same kind of security/],
    [
      'a certificate of another authority',
      () => [...toCertificate(), '--cert-dir', at('other-pki')],
      /EACCES: .*authority/,
    ],
    ['nothing, for a certificate', toCertificate, /(EPROTO|ECONNRESET): .*same kind of security/],
    ['a token, for a certificate', () => [...toCertificate(), ...token], /EACCES: .*kind of security/],
  ])('%s', async (_, args, message) => {
    const before = refusals();
    await expectRefused(['--name', 'b', ...args()], message);
    await expect.poll(refusals).toBe(before + 1);
    for (const home of [byToken, byCertificate])
      expect(await home.json('status')).toMatchObject({ cluster: { role: 'home', nodes: [] } });
  });
});

describe('does not start', () => {
  /** Of the port that is meant for nobody: tcpmux. */
  const nobody = ['--join', 'tcp://127.0.0.1:1'];

  test.each([
    ['to join with a store', [...nobody, '--store', 'files'], /EINVAL: .*a node with a store keeps files/],
    ['to join and publish', [...nobody, '--publish', '.:/x'], /EINVAL: .*publish where the home/],
    ['to join with inodes', [...nobody, '--inodes', '100'], /EINVAL: .*how many inodes/],
    ['without its token', [...nobody, '--token-file', 'none'], /ENOENT: .*'none'/],
    ['without its certificate', [...nobody, '--cert-dir', '.'], /ENOENT: .*'\.\/ca\.crt'/],
    [
      'under a name that has no certificate',
      [...nobody, ...certificates, '--name', 'x'],
      /ENOENT: .*x\.crt' \(for node 'x': give its --name/,
    ],
    ['with a token and certificates', [...nobody, ...token, ...certificates], /EINVAL: .*not both/],
    ['with a token for nobody', token, /EINVAL: .*--join, or --listen tcp:/],
    ['with certificates for nobody', certificates, /EINVAL: .*--join, or --listen tcp:/],
    [
      'where no host is',
      ['--join', `tcp://${'x'.repeat(64)}.invalid:7070`],
      /EHOSTUNREACH: .*\.invalid:7070'/,
    ],
    ['for all without a proof', ['--listen', 'tcp://0.0.0.0:0'], /EACCES: .*loopback addresses only/],
  ])('%s', (_, args, message) => expectRefused(args, message));

  test('where nobody listens, and says how there would be a node', async () => {
    await expectRefused(
      nobody,
      /ECONNREFUSED: no node listens on (tcp:\/\/127\.0\.0\.1:1); .*clusterfs serve --listen \1$/m,
      3,
    );
  });

  test('to keep files under the name of another node that does', async () => {
    const home = await serve([...loopback, '--name', 'a']);
    const b = await serve(['--join', peerUrl(home), ...loopback, '--name', 'b']);
    for (const name of ['a', 'b']) {
      const again = ['--join', peerUrl(home), ...loopback, '--name', name];
      await expectRefused(again, new RegExp(`EEXIST: .*'${name}' already: give this one another --name`));
    }
    // Nobody sends files to one that keeps none.
    await (await serve(['--join', peerUrl(home), '--name', 'b'])).stop();
    await b.stop();
    await home.stop();
  });

  test('where somebody listens already', async () => {
    const home = await serve(loopback);
    await expectRefused(['--listen', peerUrl(home)], /EADDRINUSE: /);
    await home.stop();
  });

  test('when Ctrl-C comes while it waits for a home that says nothing', async () => {
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const cwd = makeHome();
    const joining = start(['serve', '--listen', 'unix:node.sock', '--join', `tcp://127.0.0.1:${port}`], {
      cwd,
    });
    await once(silent, 'connection');
    // Of itself it would give up only when the handshake takes too long.
    const early = AbortSignal.timeout(peerLimits.handshakeMs / 2);
    const ended = await Promise.race([joining.interrupt(), once(early, 'abort')]);
    expect(ended).toMatchObject({ code: 130, stdout: '', stderr: '' });
    expect(readdirSync(cwd)).toEqual([]);
    silent.close();
  });

  test.each(['unix:node.sock', 'tcp://127.0.0.1', '127.0.0.1:7070'])('to join %s', async (url) => {
    const { code, stdout, stderr } = await run(['serve', '--join', url], { cwd: makeHome() });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^clusterfs serve: [^\n]*tcp:\/\/HOST:PORT[^\n]*\n$/);
  });
});

/** A node that is started like this ends with one line, and leaves nothing. */
async function expectRefused(args: readonly string[], message: RegExp, exitCode = 1): Promise<void> {
  const home = makeHome();
  const options = ['--listen', 'unix:node.sock', '--memory', '1MiB', ...args];
  const { code, stdout, stderr } = await run(['serve', ...options], { cwd: home });
  expect({ code, stdout }).toEqual({ code: exitCode, stdout: '' });
  expect(stderr).toMatch(/^clusterfs serve: [^\n]+\n$/);
  expect(stderr).toMatch(message);
  expect(readdirSync(home)).toEqual([]);
  expect(existsSync(runDirectory(join(home, 'node.sock')))).toBe(false);
}

describe('two nodes', () => {
  test('status tells each of the other', { timeout: 2 * goneMs }, async () => {
    const home = await serve([...loopback, '--name', 'a']);
    expect(await home.text('status')).toMatch(/^cluster +a; no other node; /m);
    const member = await serve(['--join', peerUrl(home), '--name', 'b']);
    const url = expect.stringMatching(/^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/);
    expect((await home.json('status')).cluster).toMatchObject({
      role: 'home',
      home: null,
      nodes: [{ name: 'b', url, behind: 0, keptBytes: null }],
    });
    expect((await member.json('status')).cluster).toMatchObject({
      role: 'member',
      home: { url: peerUrl(home), isConnected: true },
      nodes: [],
    });
    expect(await home.text('status')).toMatch(/^cluster +a; joined by b \(tcp:\/\/127\.0\.0\.1:\d+\); /m);
    expect(await member.text('status')).toMatch(
      new RegExp(`^cluster +b; the files of ${peerUrl(home)}; at change \\d+; 0 B of others here$`, 'm'),
    );
    home.process.kill('SIGKILL');
    await home.ended;
    await expect.poll(() => member.text('status'), { timeout: goneMs }).toMatch(/ \(NOT CONNECTED\); /);
    expect((await member.json('status')).cluster.home).toEqual({ url: peerUrl(home), isConnected: false });
    await member.stop();
  });

  test('files move from one to the other, and back', { timeout: 2 * goneMs }, async () => {
    const home = await serve([...loopback, '--name', 'a']);
    const member = await serve(['--join', peerUrl(home), ...loopback, '--name', 'b']);
    writeFileSync(at('content'), 'content');
    await home.text('put', at('content'), '/file');
    expect(await member.text('move', '/file', '--to', 'b')).toMatch(
      /^moved \/file to b: 4 KiB in .*store into it/,
    );
    expect(await home.text('move', '/file', '--to', 'b')).toBe('/file is at b already\n');
    expect((await home.json('status')).cluster).toMatchObject({ keptBytes: 0, nodes: [{ keptBytes: 4096 }] });
    expect((await member.json('status')).cluster).toMatchObject({ keptBytes: 4096 });
    expect(await home.text('status')).toMatch(/b \(tcp:[^)]*, keeps 4 KiB\)/);
    for (const node of [home, member]) {
      expect(await node.text('cat', '/file')).toBe('content');
      expect(await node.text('stat', '/file')).toMatch(/^kept by +node b$/m);
      expect(await node.json('stat', '/', '/file')).toMatchObject([{ home: null }, { home: 'b' }]);
    }
    expect(await home.text('rebalance', '--dry-run')).toMatch(/^would move 0 files$/m);
    expect(await home.json('drain', 'b')).toMatchObject({ node: 'b', files: 1, bytes: 4096, failed: [] });
    expect((await member.run('move', '/file', '--to', 'c')).stderr).toMatch(
      /ENOENT: .*'\/file' .*no node 'c'/,
    );
    expect((await member.json('status')).cluster).toMatchObject({ keptBytes: 0 });
    expect(await member.text('stat', '/file')).toMatch(/^kept by +node a$/m);
    await member.text('move', '/file', '--to', 'b');
    await member.stop();
    expect(await home.text('cat', '/file')).toBe('content');
    const stuck = await home.run('drain', 'a');
    expect([stuck.code, stuck.stdout]).toEqual([1, expect.stringMatching(/^\/file stays: .*no other node/m)]);
  });

  test('what a verb says of a file whose node was killed', { timeout: 3 * goneMs }, async () => {
    const home = await serve([...loopback, '--name', 'a']);
    const member = await serve(['--join', peerUrl(home), ...loopback, '--name', 'b']);
    writeFileSync(at('content'), 'content');
    await home.text('put', at('content'), '/file');
    await home.text('move', '/file', '--to', 'b');
    // The copy that the home had is of before.
    await member.text('put', '--replace', at('content'), '/file');
    member.process.kill('SIGKILL');
    await member.ended;
    const away =
      /^clusterfs \w+: EIO: [^\n]* '\/file' \(node 'b', which keeps the file, cannot be reached\)\n$/;
    for (const verb of [
      ['cat', '/file'],
      ['get', '/file', at('copy')],
      ['move', '/file', '--to', 'a'],
    ])
      expect(await home.run(...verb)).toMatchObject({
        code: 1,
        stdout: '',
        stderr: expect.stringMatching(away),
      });
    expect((await home.run('drain', 'b')).stderr).toMatch(
      /EIO: .*node 'b' cannot be reached: is it running\?/,
    );
    await home.stop();
  });

  test('a verb at the port for nodes, which has no token', async () => {
    const home = await serve([...loopback, '--name', 'a', ...token]);
    const { code, stderr } = await run(['ls', '--url', peerUrl(home)]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^clusterfs ls: E\w+: .* 'tcp:.* \(a verb has no token .*give the unix:PATH .*\)\n$/,
    );
    await home.stop();
  });

  test('events tell who joins, and who leaves', { timeout: 2 * goneMs }, async () => {
    const home = await serve([...loopback, '--name', 'a']);
    const people = home.start('events');
    const programs = home.start('events', '--json');
    const subscribed = async (): Promise<boolean> => {
      await home.text('mkdir', '-p', '/seen');
      await home.text('rm', '-r', '/seen');
      return [people, programs].every(({ stdout }) => stdout().includes('/seen'));
    };
    await expect.poll(subscribed, { timeout: goneMs }).toBe(true);
    const member = await serve(['--join', peerUrl(home), '--name', 'b']);
    await people.says(/ node-join +node=b url=tcp:\/\/127\.0\.0\.1:\d+\n/);
    await programs.says(/"kind":"node-join"[^\n]*\n/);
    await member.text('ls');
    await member.stop();
    await expect.poll(people.stdout, { timeout: goneMs }).toMatch(/ node-leave +node=b\n/);
    await programs.says(/"kind":"node-leave"[^\n]*\n/);
    const told = programs.stdout().trim().split('\n');
    expect(told.map((line) => JSON.parse(line)).filter(({ kind }) => kind.startsWith('node-'))).toMatchObject(
      [
        { kind: 'node-join', detail: { node: 'b', url: expect.stringMatching(/^tcp:/) } },
        { kind: 'node-leave', detail: { node: 'b' } },
      ],
    );
    expect(await home.json('status')).toMatchObject({ cluster: { nodes: [] } });
    await Promise.all([people.interrupt(), programs.interrupt()]);
    await home.stop();
  });
});
