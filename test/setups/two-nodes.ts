/** Nodes of a cluster, as processes on one machine: the home of the files, and one or two that joined it. */
import { type NodeProcess, startNode } from './node-process.ts';

export interface TwoNodes {
  readonly home: NodeProcess;
  readonly member: NodeProcess;
  stop(): Promise<void>;
}

export interface ThreeNodes extends TwoNodes {
  /** Another one that joined. */
  readonly other: NodeProcess;
}

interface Options {
  readonly memory?: string;
  /** Options of node itself, for either. */
  readonly execArgv?: { readonly home?: readonly string[]; readonly member?: readonly string[] };
}

export async function startTwoNodes({ execArgv = {}, ...options }: Options = {}): Promise<TwoNodes> {
  const home = await startNode({
    ...options,
    execArgv: execArgv.home ?? [],
    options: ['--listen', 'tcp://127.0.0.1:0', '--name', 'a'],
  });
  const member = await join(home, 'b', { ...options, execArgv: execArgv.member ?? [] });
  const stop = async (): Promise<void> => {
    await member.stop();
    await home.stop();
  };
  return { home, member, stop };
}

export async function startThreeNodes(options: Options = {}): Promise<ThreeNodes> {
  const nodes = await startTwoNodes(options);
  const other = await join(nodes.home, 'c', options.memory === undefined ? {} : { memory: options.memory });
  const stop = async (): Promise<void> => {
    await other.stop();
    await nodes.stop();
  };
  return { ...nodes, other, stop };
}

/** A node that cannot join ends its home, too: nothing is left of the cluster. */
async function join(
  home: NodeProcess,
  name: string,
  options: { readonly memory?: string; readonly execArgv?: readonly string[] },
): Promise<NodeProcess> {
  try {
    const cluster = ['--join', home.peerUrl ?? '', '--listen', 'tcp://127.0.0.1:0', '--name', name];
    return await startNode({ ...options, options: cluster });
  } catch (error) {
    await home.stop();
    throw error;
  }
}
