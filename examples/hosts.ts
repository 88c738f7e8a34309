/**
 * Two hosts on one machine: two network namespaces (ip-netns(8)), joined by a cable that is two ends of a
 * veth(4). What runs in one reaches the other over TCP and in no other way. Who may not make namespaces gets
 * two hosts that share the loopback device.
 */
import { spawnSync } from 'node:child_process';
import type { Place, Sandbox } from './sandbox.ts';

export interface Hosts {
  readonly a: Place;
  readonly b: Place;
  /** The address of host a. */
  readonly address: string;
  /** What the hosts are, in words. */
  readonly what: string;
}

/** For documents and examples, and on no network: RFC 5737. */
const addresses = { a: '192.0.2.1', b: '192.0.2.2' } as const;

/** Namespaces where they can be made, unless `loopback`. They are removed at the end of the sandbox. */
export function makeHosts(sandbox: Sandbox, { loopback }: { readonly loopback: boolean }): Hosts {
  const why = loopback ? 'as asked for' : makeNamespaces(sandbox);
  if (why === undefined) {
    const { a, b } = addresses;
    const what = `two network namespaces and a cable: host a is ${a}, host b is ${b}`;
    return { a: placeIn('a'), b: placeIn('b'), address: a, what };
  }
  const what = `two nodes on 127.0.0.1 (${why})`;
  return { a: { name: 'a', enter: [] }, b: { name: 'b', enter: [] }, address: '127.0.0.1', what };
}

type Name = keyof typeof addresses;

const namespaceOf = (name: Name): string => `cluster-fs-example-${process.pid}-${name}`;

const placeIn = (name: Name): Place => ({ name, enter: ['ip', 'netns', 'exec', namespaceOf(name)] });

/** Why it could not; undefined when it did. */
function makeNamespaces(sandbox: Sandbox): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may make network namespaces';
  const [a, b] = [namespaceOf('a'), namespaceOf('b')];
  const remove = (): void => {
    // With a namespace go the devices in it. What was not made cannot be removed, and need not be.
    for (const name of [a, b]) ip('netns', 'del', name);
  };
  sandbox.onEnd(remove);
  const steps = [
    ['netns', 'add', a],
    ['netns', 'add', b],
    ['link', 'add', 'cable', 'netns', a, 'type', 'veth', 'peer', 'name', 'cable', 'netns', b],
    ['-n', a, 'address', 'add', `${addresses.a}/24`, 'dev', 'cable'],
    ['-n', b, 'address', 'add', `${addresses.b}/24`, 'dev', 'cable'],
    ['-n', a, 'link', 'set', 'cable', 'up'],
    ['-n', b, 'link', 'set', 'cable', 'up'],
    ['netns', 'exec', a, 'true'],
  ];
  for (const step of steps) {
    const failure = ip(...step);
    if (failure === undefined) continue;
    remove();
    return `ip ${step.slice(0, 2).join(' ')}: ${failure}`;
  }
  return undefined;
}

/** What ip(8) has to complain of; undefined when it did what it should. */
function ip(...args: readonly string[]): string | undefined {
  const { error, status, signal, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (error !== undefined) return error.message;
  if (status === 0) return undefined;
  return stderr.trim().split('\n')[0] || `ended with ${status ?? signal}`;
}
