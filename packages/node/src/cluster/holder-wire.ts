/** What a cache of blocks (coherence.md) says to a home, and hears from it, as events on the link to it. */
import { FsError } from '@cluster-fs/transport';
import type { AnyPeerEvent, PeerLink } from '@cluster-fs/transport/peer';
import type { Position } from 'cluster-fs/coherence';
import {
  asks,
  carriesBytes,
  type DirectoryMessage,
  type Envelope,
  type HeldTags,
  type HolderFrame,
  toCacheNames,
  toDirectoryPlaces,
} from 'cluster-fs/coherence';
import { asBuffer, nothing } from './block-buffers.ts';
import { blockOf, indexOf, inoOf } from './blocks.ts';

export class HolderWire {
  readonly #tags: HeldTags<Uint8Array>;
  readonly #position: () => Position | undefined;
  readonly #session: () => number | undefined;
  /** What the home has heard of it, in which session, and over which link. */
  #said: { link: PeerLink; session: number | undefined; position: Position } | undefined;

  /** `position`: how far this node is; `session`: the one that it has there. */
  constructor(
    tags: HeldTags<Uint8Array>,
    position: () => Position | undefined,
    session: () => number | undefined,
  ) {
    this.#tags = tags;
    this.#session = session;
    this.#position = position;
  }

  send(link: PeerLink, frame: HolderFrame<Buffer>): void {
    if (frame.kind === 'hello') link.event('blockHello', frame);
    else if (frame.kind === 'ping') link.event('blockPing', frame);
    else {
      const { number, received, message } = frame.envelope;
      const { block, name, bytes } = message;
      if (asks.has(name)) this.sayPosition(link);
      const stag = this.#tags.of(inoOf(block), number);
      const fields = { number, received, stag, index: indexOf(block), message: toDirectoryPlaces[name] };
      link.event('toHome', fields, bytes === undefined ? {} : { payload: bytes });
    }
  }

  /** What the home says of a block, and of which file. EPROTO when that is not known. */
  heard({ fields, payload }: AnyPeerEvent & { readonly name: 'toHolder' }): {
    readonly ino: number;
    readonly envelope: Envelope<DirectoryMessage<Buffer>>;
  } {
    const { number, received, stag, index, message } = fields;
    const ino = this.#tags.inoOf(stag);
    const name = toCacheNames[message];
    if (ino === undefined || name === undefined)
      throw new FsError('EPROTO', 'blocks', { why: `${message} of a file that is not known` });
    const bytes = payload === undefined ? nothing : asBuffer(payload);
    const said = { block: blockOf(ino, index), name, ...(carriesBytes.has(name) ? { bytes } : {}) };
    return { ino, envelope: { number, received, message: said } };
  }

  /** The home lends no blocks of files that this node does not know as they are. */
  sayPosition(link: PeerLink): void {
    const [position, session, said] = [this.#position(), this.#session(), this.#said];
    if (position === undefined) return;
    // Also over the same link a session may be another one.
    if (said?.link === link && said.session === session && said.position === position) return;
    this.#said = { link, session, position };
    link.event('position', position);
  }
}
