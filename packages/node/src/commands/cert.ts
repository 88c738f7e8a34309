/** `clusterfs cert`: an authority, certificates of nodes, and join tokens. Needs no node. */
import { randomBytes } from 'node:crypto';
import { type Command, InvalidArgumentError } from 'commander';
import { type CertificateReport, describeFile } from '../certificates/describe.ts';
import { Misuse } from './failure.ts';
import { type Output, printable } from './output.ts';
import { parseCount } from './size.ts';
import { type Host, verb, withoutNode } from './verb.ts';

export function addCert(program: Command, host: Host): void {
  const cert = program
    .command('cert')
    .summary('certificates and tokens, by which nodes know each other')
    .description(
      'Certificates and tokens, by which nodes know each other.\n\n' +
        "Either each node has a certificate of the cluster's authority, or all of them have one join " +
        'token. Certificates are made for one node and end by themselves; a token is one secret, for small ' +
        'set-ups. `serve --cert-dir` and `serve --token-file` take them.',
    )
    .addHelpText('after', `\nExamples:\n${examples.map((line) => `  $ ${line}`).join('\n')}`);
  addInit(cert, host);
  addNode(cert, host);
  addShow(cert, host);
  addToken(cert, host);
}

const examples = [
  'clusterfs cert init pki                        # pki/ca.crt, pki/ca.key: keep the key off the nodes',
  'clusterfs cert node pki a --host 10.0.0.1      # pki/a.crt, pki/a.key: for node a, with pki/ca.crt',
  'clusterfs cert show pki/*.crt                  # whose, and until when (--json for programs)',
  'clusterfs cert node pki a --renew              # a new certificate for the same key',
  'clusterfs cert token > join-token              # or: one secret for all nodes',
];

function addInit(cert: Command, host: Host): void {
  verb(cert, 'init', {
    summary: "make a cluster's authority: a key and a certificate",
    description:
      'Writes ca.key (mode 0600) and ca.crt into DIR, which is made where it is missing, for a new cluster ' +
      'with a random id. Nodes need ca.crt. Who has ca.key can make nodes of this cluster: keep it off ' +
      'them. What is there is never overwritten.',
    examples: ['clusterfs cert init pki'],
  })
    .argument('<dir>')
    .option('--days <n>', 'how long it is valid (default: 3650)', parseDays)
    .action(
      withoutNode(host, async ({ out }, options: { days?: number }, dir: string) => {
        const { makeAuthority } = await import('../certificates/authority.ts');
        const made = await makeAuthority(dir, options);
        await sayMade(out, made);
      }),
    );
}

interface NodeOptions {
  readonly host?: readonly string[];
  readonly days?: number;
  readonly renew?: true;
}

function addNode(cert: Command, host: Host): void {
  verb(cert, 'node', {
    summary: 'make the key and the certificate of a node',
    description:
      'Writes NAME.key (mode 0600) and NAME.crt into DIR, signed by the authority that is there. Take both ' +
      'and ca.crt to the node: a certificate is good for a node of that name in one cluster. ' +
      'With --host, who connects also looks that the node is at one of these names or addresses. --renew ' +
      'makes a new certificate for the key that the node has, and keeps its hosts unless others are given.',
    examples: [
      'clusterfs cert node pki a',
      'clusterfs cert node pki a --host a.example 10.0.0.1 --days 90',
      'clusterfs cert node pki a --renew',
    ],
  })
    .argument('<dir>')
    .argument('<name>')
    .option('--host <host...>', 'names and addresses of the node (default: it is good at every one)', addHost)
    .option('--days <n>', 'how long it is valid, at most as long as the authority (default: 365)', parseDays)
    .option('--renew', 'a new certificate for the key that is there')
    .action(
      withoutNode(
        host,
        async ({ out }, { host: hosts, days, renew }: NodeOptions, dir: string, name: string) => {
          const { makeNode } = await import('../certificates/authority.ts');
          const made = await makeNode(dir, checkedName(name), {
            ...(hosts === undefined ? {} : { hosts }),
            ...(days === undefined ? {} : { days }),
            renew: renew === true,
          });
          await sayMade(out, made);
        },
      ),
    );
}

function addShow(cert: Command, host: Host): void {
  verb(cert, 'show', {
    summary: 'say whose certificates are, and until when they are valid',
    description:
      'Files in PEM, with one certificate or more each. FINGERPRINT is the SHA-256 of the certificate, as ' +
      '`openssl x509 -fingerprint -sha256` prints it.',
    examples: [
      'clusterfs cert show pki/*.crt',
      'clusterfs cert show a.crt --json | jq -r .certificates[0].validUntil',
    ],
  })
    .argument('<files...>')
    .action(
      withoutNode(host, async ({ out }, _options: object, files: readonly string[]) => {
        const now = Date.now();
        const certificates = (await Promise.all(files.map((file) => describeFile(file, now)))).flat();
        out.result({ certificates });
        certificates.forEach((certificate, i) => {
          if (i > 0) out.say('');
          out.table([{ head: '' }, { head: '' }], rowsOf(certificate));
        });
      }),
    );
}

function addToken(cert: Command, host: Host): void {
  verb(cert, 'token', {
    summary: 'print a new join token',
    description:
      '256 random bits, on one line. All nodes of a cluster have the same; who has it is one of them, so ' +
      'keep it in a file of mode 0600. It is kept nowhere: each call prints another one.',
    examples: ['(umask 077; clusterfs cert token > join-token)'],
  }).action(
    withoutNode(host, async ({ out }) => {
      const token = randomBytes(32).toString('base64url');
      out.result({ token });
      out.say(token);
    }),
  );
}

async function sayMade(
  out: Output,
  made: { readonly cert: string; readonly key: string; readonly clusterId: string },
): Promise<void> {
  const [{ validUntil = '', fingerprint = '' } = {}] = await describeFile(made.cert, Date.now());
  out.result({ ...made, validUntil, fingerprint });
  out.say(`${made.cert}: valid until ${validUntil.slice(0, 10)}, cluster ${made.clusterId}`);
  out.say(`${made.key}: secret, mode 0600`);
}

function rowsOf(report: CertificateReport): readonly (readonly string[])[] {
  const { file, kind, name, clusterId, issuer, hosts, validFrom, validUntil, state, fingerprint } = report;
  const rows = [
    ['FILE', file],
    ['WHOSE', kind === 'authority' ? `authority '${name}'` : `node '${name}'`],
    ['CLUSTER', clusterId],
    ['ISSUER', issuer],
    ['HOSTS', hosts.length === 0 ? (kind === 'authority' ? '-' : 'every one') : hosts.join(', ')],
    ['VALID', `${validFrom} to ${validUntil}${state === 'valid' ? '' : `: ${state.toUpperCase()}`}`],
    ['FINGERPRINT', fingerprint],
  ];
  return rows.map((row) => row.map(printable));
}

/** X.520 gives a common name 64 characters; and it is the name of two files. */
function checkedName(name: string): string {
  if (name !== 'ca' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) return name;
  throw new Misuse(
    `'${printable(name)}' is no name for a node: up to 64 letters, digits, dots, dashes and underscores, ` +
      "not 'ca', which is the authority",
  );
}

function addHost(host: string, before: readonly string[] = []): readonly string[] {
  if (!/^[A-Za-z0-9*._-]+$|^[0-9A-Fa-f:.]+$/.test(host)) {
    throw new InvalidArgumentError('Give a host name or an address, without a port.');
  }
  return [...before, host];
}

function parseDays(text: string): number {
  const days = parseCount(text);
  if (days < 1 || days > 36_500) throw new InvalidArgumentError('Give 1 to 36500 days.');
  return days;
}
