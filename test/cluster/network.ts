/**
 * Hosts on one machine, and a network between them: a network namespace (ip-netns(8)) for each host and one
 * for the bridge(8) that their cables end at. What runs in one reaches the others over TCP and in no other
 * way. Cables can be pulled, and made slow and bad.
 *
 *   host a  eth0 ══ veth(4) ══ to-a ┐
 *   host b  eth0 ══════════════ to-b ├ bridge    in a namespace of its own
 *   host c  eth0 ══════════════ to-c ┘
 *
 * Nothing of it is left when the test is over, or the process.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { onTestFinished } from 'vitest';
import { buildSwitch, startSwitch } from './switch.ts';

export interface Host {
  readonly name: string;
  readonly address: string;
  /** In front of a command that shall run there. */
  readonly enter: readonly string[];
  /** Pulls the cable; what is on the host finds out when nobody answers. */
  unplug(): void;
  plug(): void;
}

/** What a bad network does to each packet on its way. */
export interface Badness {
  readonly delayMs: number;
  /** More or less than that, at random. */
  readonly jitterMs: number;
  readonly lossPercent: number;
  readonly seed: number;
}

export interface Network {
  readonly hosts: readonly Host[];
  /** From here on; says what does it. */
  worsen(badness: Badness): Promise<string>;
}

const prefix = 'clusterfs-test-';
/** For documents and examples, and on no network: RFC 5737. */
const addressOf = (i: number): string => `192.0.2.${i + 1}`;
let networks = 0;

/** Why there can be none on this machine; undefined when there can. Tries it once. */
export function whyNoNetwork(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may make network namespaces';
  removeLeftovers();
  const name = `${prefix}${process.pid}-try`;
  const failure = tryIp('netns', 'add', name);
  if (failure !== undefined) return `ip netns: ${failure}`;
  const cable = ['link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'to-a'];
  const missing = tryIp('-n', name, ...cable) ?? tryIp('-n', name, 'link', 'add', 'hub', 'type', 'bridge');
  ip('netns', 'del', name);
  return missing === undefined ? undefined : `ip link: ${missing}`;
}

export function makeNetwork(names: readonly string[]): Network {
  const id = `${prefix}${process.pid}-${networks++}`;
  const hub = `${id}-hub`;
  const made: string[] = [];
  // With a namespace go the devices in it.
  const remove = (): void => {
    for (const name of made.splice(0)) tryIp('netns', 'del', name);
  };
  process.once('exit', remove);
  onTestFinished(() => {
    remove();
    process.off('exit', remove);
  });
  const add = (name: string): void => {
    ip('netns', 'add', name);
    made.push(name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
  };
  add(hub);
  ip('-n', hub, 'link', 'add', 'hub', 'type', 'bridge');
  ip('-n', hub, 'link', 'set', 'hub', 'up');
  const hosts = names.map((name, i): Host => {
    const space = `${id}-${name}`;
    const port = `to-${name}`;
    add(space);
    ip('-n', hub, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space);
    ip('-n', hub, 'link', 'set', port, 'master', 'hub', 'up');
    ip('-n', space, 'address', 'add', `${addressOf(i)}/24`, 'dev', 'eth0');
    ip('-n', space, 'link', 'set', 'eth0', 'up');
    return {
      name,
      address: addressOf(i),
      enter: enter(space),
      unplug: () => ip('-n', hub, 'link', 'set', port, 'down'),
      plug: () => ip('-n', hub, 'link', 'set', port, 'up'),
    };
  });
  return { hosts, worsen: (badness) => worsen({ hub, names }, badness) };
}

/**
 * By netem (tc-netem(8)) where the kernel has it; elsewhere a program takes the place of the bridge and does
 * the same (switch.cc).
 */
async function worsen(
  { hub, names }: { readonly hub: string; readonly names: readonly string[] },
  badness: Badness,
): Promise<string> {
  const { delayMs, jitterMs, lossPercent } = badness;
  const how = ['delay', `${delayMs}ms`, `${jitterMs}ms`, 'loss', `${lossPercent}%`];
  const ports = names.map((name) => `to-${name}`);
  const failures = ports.map((port) => {
    const { status, stderr } = run('tc', [
      '-n',
      hub,
      'qdisc',
      'replace',
      'dev',
      port,
      'root',
      'netem',
      ...how,
    ]);
    return status === 0 ? undefined : stderr;
  });
  if (failures.every((failure) => failure === undefined)) return 'netem';
  const program = buildSwitch();
  for (const port of ports) ip('-n', hub, 'link', 'set', port, 'nomaster');
  await startSwitch(program, enter(hub), ports, badness);
  return `a switch of our own (tc: ${failures[0]?.trim()})`;
}

const enter = (space: string): readonly string[] => ['nsenter', `--net=/run/netns/${space}`];

/** Of a test whose process was killed. */
function removeLeftovers(): void {
  const { status, stdout } = run('ip', ['netns', 'list']);
  if (status !== 0) return;
  const running = new Set(readdirSync('/proc'));
  for (const [name, pid = ''] of stdout.matchAll(new RegExp(`^${prefix}(\\d+)-\\S+`, 'gm')))
    if (!running.has(pid)) tryIp('netns', 'del', name);
}

function ip(...args: readonly string[]): void {
  const failure = tryIp(...args);
  if (failure !== undefined) throw new Error(`ip ${args.join(' ')}: ${failure}`);
}

/** What ip(8) has to complain of; undefined when it did what it should. */
function tryIp(...args: readonly string[]): string | undefined {
  const { status, stderr } = run('ip', args);
  return status === 0 ? undefined : stderr.trim().split('\n')[0] || `ended with ${status}`;
}

function run(
  command: string,
  args: readonly string[],
): { status: number | null; stdout: string; stderr: string } {
  const { error, status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return { status, stdout: stdout ?? '', stderr: error?.message ?? stderr };
}
