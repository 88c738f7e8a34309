/** Unix stream sockets that carry descriptors: unix(7). Always non-blocking and close-on-exec. */
import { readdirSync } from 'node:fs';
import { call, checked, unlessBusy } from './binding.ts';

/**
 * A listening socket at `path`, never for a moment with wider rights than `mode`. EADDRINUSE when something
 * is there;
 * ENAMETOOLONG for a path over 107 bytes.
 */
export const listenUnix = (
  path: string,
  { backlog = 511, mode = 0o600 }: { backlog?: number; mode?: number } = {},
): number => checked(call('listenUnix', path, backlog, mode), 'listen', path);

/**
 * connect(2). ECONNREFUSED when nobody listens, ENOENT when nothing is there, EAGAIN when the backlog is
 * full.
 */
export const connectUnix = (path: string): number => checked(call('connectUnix', path), 'connect', path);

/** accept4(2); undefined when nobody waits. */
export const acceptUnix = (fd: number): number | undefined => unlessBusy(call('acceptUnix', fd), 'accept');

/**
 * sendmsg(2): bytes of `from` and, with the first of them, descriptors (at most 16; they stay the caller's
 * too).
 * How many bytes the socket took, or undefined when it is full.
 */
export const sendMessage = (
  fd: number,
  from: Uint8Array,
  offset: number,
  length: number,
  descriptors: readonly number[],
): number | undefined => unlessBusy(call('sendMessage', fd, from, offset, length, descriptors), 'sendmsg');

/**
 * recvmsg(2): how many bytes came, 0 at the end, undefined when there are none now. Descriptors that came
 * with them are appended to `descriptors` and are the caller's to close. EMSGSIZE when some did not fit: then
 * none is kept.
 */
export const receiveMessage = (fd: number, into: Uint8Array, descriptors: number[]): number | undefined =>
  unlessBusy(call('receiveMessage', fd, into, descriptors), 'recvmsg');

/** getsockopt(2), SO_PEERCRED: who connected, as the kernel saw it then. */
export function peerCredentials(fd: number): { pid: number; uid: number; gid: number } {
  const values = new Uint32Array(3);
  checked(call('peerCredentials', fd, new Uint8Array(values.buffer)), 'getsockopt');
  const [pid = 0, uid = 0, gid = 0] = values;
  return { pid, uid, gid };
}

/** close(2). */
export const closeDescriptor = (fd: number): void => {
  checked(call('closeDescriptor', fd), 'close');
};

/** shutdown(2), both ways. */
export const shutdownSocket = (fd: number): void => {
  checked(call('shutdownSocket', fd), 'shutdown');
};

/** Descriptors that this process has open. */
export const openDescriptorCount = (): number => readdirSync('/proc/self/fd').length - 1;
