/** A hello as bytes, by the table of messages: of an honest client that keeps no pages of its own. */
import { requests, toValues } from '@cluster-fs/transport';
import { goodHello } from '../chaos/raw-session.mjs';
import { frame, type Packable, pack } from './message-pack.ts';

export const helloFrame = frame(
  pack([requests.hello.id, 1, ...(toValues(requests.hello.fields, goodHello) as Packable[])]),
);
