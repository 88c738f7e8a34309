/** What a cache of blocks (coherence.md) says to a home, and hears from it, as events on the link to it. */
import { FsError } from '@cluster-fs/transport';
import type { AnyPeerEvent, PeerLink } from '@cluster-fs/transport/peer';
import {
  asks,
  carriesBytes,
  type DirectoryMessage,
  type Envelope,
  type HolderFrame,
  toCacheNames,
  toDirectoryPlaces,
} from 'cluster-fs/coherence';
import { asBuffer, nothing } from './block-buffers.ts';
import { blockOf, indexOf, inoOf } from './blocks.ts';
import type { HeldTags } from './held-tags.ts';
import type { Position } from './positions.ts';

export class HolderWire {
  readonly #tags: HeldTags;
  readonly #position: () => Position | undefined;
  /** What the home has heard of it, and over which link. */
  #said: { readonly link: PeerLink; readonly position: Position } | undefined;

  /** `position`: how far this node is. */
  constructor(tags: HeldTags, position: () => Position | undefined) {
    this.#tags = tags;
    this.#position = position;
  }

  send(link: PeerLink, frame: HolderFrame<Buffer>): void {
    if (frame.kind === 'hello') link.event('blockHello', frame);
    else if (frame.kind === 'ping') link.event('blockPing', frame);
    else {
      const { number, received, message } = frame.envelope;
      const { block, name, bytes } = message;
      if (asks.has(name)) this.sayPosition(link);
      const stag = this.#tags.of(inoOf(block));
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
    const position = this.#position();
    if (position === undefined || (this.#said?.link === link && this.#said.position === position)) return;
    this.#said = { link, position };
    link.event('position', position);
  }
}
