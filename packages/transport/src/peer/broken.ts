/** How a link ends whose other side breaks the protocol. */
import { FsError } from '../errors.ts';

/** What the other side says breaks the protocol: its link is to be closed. */
export const broken = (why: string): FsError => new FsError('EPROTO', 'decode', { why });
