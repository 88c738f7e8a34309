/** A home in this process, and nodes that it lets in and that say what they like. */
import { join } from 'node:path';
import {
  connectPeer,
  type Keeper,
  type PeerEvent,
  type PeerLink,
  type PeerRequest,
  parsePeerUrl,
} from '@cluster-fs/transport/peer';
import { type ClusterFs, mount } from 'cluster-fs';
import { type ToDirectory, toDirectoryPlaces } from 'cluster-fs/coherence';
import type { Segment } from 'cluster-fs/segment';
import { expect, onTestFinished } from 'vitest';
import { startNode } from '../src/cluster/start.ts';
import { makeHome } from './cli-process.ts';

const security = { kind: 'none' } as const;

export const hexOf = (stag: Uint8Array): string => Buffer.from(stag).toString('hex');

type Asked = PeerRequest<'tagOpen'>;

export interface Home {
  readonly fs: ClusterFs;
  readonly segment: Segment;
  /** Lets a node in, with a session of blocks: a new one, or one that it has had over another link. */
  enter(nodeId: number, session?: number, incarnation?: number): Promise<Stranger>;
}

export async function startHome(): Promise<Home> {
  const socketPath = join(makeHome(), 'node.sock');
  const cluster = { name: 'a', security };
  const home = startNode({ socketPath, memory: 2 ** 22, inodeCount: 64, cluster });
  onTestFinished(() => home.stop());
  const address = parsePeerUrl(await home.listen({ host: '127.0.0.1', port: 0 }));
  const fs = await mount(`unix:${socketPath}`);
  onTestFinished(() => fs.unmount());
  const enter = async (nodeId: number, session?: number, incarnation = 1): Promise<Stranger> => {
    const identity = { clusterId: new Uint8Array(16), nodeId, name: `node-${nodeId}`, incarnation };
    const stranger = new Stranger(await connectPeer({ ...address, security, identity }));
    onTestFinished(() => stranger.link.close());
    stranger.link.event('blockHello', { hello: 1, session, received: 0 });
    await stranger.hears('blockWelcome');
    await stranger.follow();
    return stranger;
  };
  return { fs, segment: home.coordinator.segment, enter };
}

export class Stranger {
  readonly link: PeerLink;
  /** Bytes of files that it was given. */
  received = 0;
  session = 0;
  /** Whether it applies the changes that it hears of. */
  applies = true;
  /** The STags by which the home has named files. */
  readonly named: string[] = [];
  /** What it heard last of nodes that keep files. */
  keepers: readonly Keeper[] = [];
  readonly #said: string[] = [];
  #number = 0;
  #asked = 0;

  constructor(link: PeerLink) {
    this.link = link;
    link.setHandlers({
      onEvent: ({ name, fields, payload }) => {
        this.#said.push(name);
        this.received += payload?.length ?? 0;
        if (name === 'toHolder') this.named.push(hexOf(fields.stag));
        if (name === 'blockWelcome') this.session = fields.session;
        if (name === 'keepers') this.keepers = fields.keepers;
        if (name === 'changes' && fields.isLast && this.applies) this.#knows(fields);
      },
    });
  }

  /** Hears of changes from here on, and says that it knows them: else it gets no block. */
  async follow(): Promise<void> {
    await this.link.request('follow', { feed: undefined, sequence: 0 });
    await this.hears('changes');
  }

  #knows({ feed, sequence }: PeerEvent<'changes'>): void {
    this.link.event('position', { feed, sequence });
    this.link.event('applied', { sequence });
  }

  hasHeard(name: string): boolean {
    return this.#said.includes(name);
  }

  async hears(name: string): Promise<void> {
    await expect.poll(() => this.link.closed !== undefined || this.#said.includes(name)).toBe(true);
    if (!this.#said.includes(name)) throw this.link.closed;
  }

  /** `said`: a message, or a place of the table where there is none. */
  say(
    said: ToDirectory | number,
    stag: Uint8Array,
    { index = 0, ...more }: Partial<PeerEvent<'toHome'>> = {},
  ): void {
    const number = ++this.#number;
    const message = typeof said === 'number' ? said : toDirectoryPlaces[said];
    this.link.event('toHome', { number, received: 0, stag, index, message, ...more });
  }

  /** Asks for an STag, under a number of its own if none is given. */
  async tag(file: Pick<Asked, 'ino' | 'generation' | 'mode'>, asked = ++this.#asked): Promise<Uint8Array> {
    return (await this.link.request('tagOpen', { ...file, asked })).reply.stag;
  }

  /** Asks for a longer lease. */
  ping(): void {
    const { session } = this;
    this.link.event('blockPing', { session, sentMs: performance.now(), received: 0 });
  }
}
