/** Two nodes of a cluster, as processes on one machine: the home of the files, and a node that joined it. */
import { type NodeProcess, startNode } from './node-process.ts';

export interface TwoNodes {
  readonly home: NodeProcess;
  readonly member: NodeProcess;
  stop(): Promise<void>;
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
  const join = ['--join', home.peerUrl ?? '', '--name', 'b'];
  const member = await startNode({ ...options, execArgv: execArgv.member ?? [], options: join }).catch(
    async (error: unknown) => {
      await home.stop();
      throw error;
    },
  );
  const stop = async (): Promise<void> => {
    await member.stop();
    await home.stop();
  };
  return { home, member, stop };
}
