/** Three nodes, each on a host of its own: the home of all files, and two that joined it. */
import { randomBytes } from 'node:crypto';
import { type Child, startChild } from '../chaos/children.ts';
import { type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { type Host, makeNetwork, type Network, whyNoNetwork } from './network.ts';

export interface NodeOnHost extends Host {
  readonly node: NodeProcess;
  /** A program of a test, on that host. */
  startClient(program: string, args: readonly (string | number)[]): Child;
}

export interface Hosts {
  readonly network: Network;
  readonly home: NodeOnHost;
  readonly member: NodeOnHost;
  readonly other: NodeOnHost;
}

const peerPort = 7070;

const missing = whyNoNetwork();
const isDemanded = process.env.CLUSTERFS_DEMAND?.split(',').includes('netns') === true;
/** Of tests: where they are skipped because there can be no hosts, it says why. */
export const hostsAreMissing = missing !== undefined && !isDemanded;
export const needsHosts = missing === undefined ? '' : ` (needs network namespaces: ${missing})`;

/** `keeps`: files may move to the nodes that join. */
export async function startHosts({ keeps = false }: { readonly keeps?: boolean } = {}): Promise<Hosts> {
  const network = makeNetwork(['a', 'b', 'c']);
  const [a, b, c] = network.hosts as [Host, Host, Host];
  const token = randomBytes(32).toString('base64url');
  const start = async (host: Host): Promise<NodeOnHost> => {
    const { name, enter } = host;
    const own = { peerPort, ownHost: host.address };
    const ports = host === a ? own : { joinPort: peerPort, ...(keeps ? own : {}) };
    const node = await startNodeProcess({ ...ports, peerHost: a.address, token, name, enter });
    return { ...host, node, startClient: (program, args) => startChild(program, args, enter) };
  };
  return { network, home: await start(a), member: await start(b), other: await start(c) };
}
