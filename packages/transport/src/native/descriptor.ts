/** Unix stream sockets that carry descriptors: unix(7). Always non-blocking and close-on-exec. */
import { readdirSync } from 'node:fs';
import { addon, checked, unlessBusy } from './binding.ts';

export interface ListenOptions {
  /** How many connections may wait to be accepted. Default: 511, as in node:net. */
  readonly backlog?: number;
  /** Rights of the file; to connect one needs to write. Default: 0o600, the owner alone. */
  readonly mode?: number;
}

/**
 * bind(2) and listen(2): a listening socket at `path`, which never for a moment has wider rights than `mode`.
 * Whoever closes it unlinks the path. EADDRINUSE when something is there, ENAMETOOLONG for a path over 107
 * bytes, ENOENT for an empty one.
 */
export const listenUnix = (path: string, { backlog = 511, mode = 0o600 }: ListenOptions = {}): number =>
  checked(addon.listenUnix(path, backlog, mode), 'listen', path);

/**
 * connect(2), which is immediate. ECONNREFUSED when nobody listens, ENOENT when nothing is there, EACCES
 * without the right to write, EAGAIN when the backlog is full, ENAMETOOLONG for a path over 107 bytes.
 */
export const connectUnix = (path: string): number => checked(addon.connectUnix(path), 'connect', path);

/** accept4(2); undefined when nobody waits. EMFILE. */
export const acceptUnix = (fd: number): number | undefined => unlessBusy(addon.acceptUnix(fd), 'accept');

/**
 * sendmsg(2): bytes of `from` and, with the first of them, descriptors (at most 16; they stay the caller's
 * too). How many bytes the socket took, then with all descriptors, or undefined when it is full, then with
 * none. EPIPE when the peer is gone; never SIGPIPE.
 */
export const sendMessage = (
  fd: number,
  from: Uint8Array,
  offset: number,
  length: number,
  descriptors: readonly number[],
): number | undefined => unlessBusy(addon.sendMessage(fd, from, offset, length, descriptors), 'sendmsg');

/** The most parts that `sendParts` takes. */
export const mostParts = 64;

/**
 * sendmsg(2) of 1 to 64 parts, as if they were one, on any socket: how many bytes it took, undefined when it
 * is full. EPIPE when the peer is gone; never SIGPIPE.
 */
export const sendParts = (fd: number, parts: readonly Uint8Array[]): number | undefined =>
  unlessBusy(addon.sendParts(fd, parts), 'sendmsg');

/**
 * recvmsg(2): how many bytes came, 0 at the end, undefined when there are none now. Descriptors that came
 * with them are appended to `descriptors` and are the caller's to close. EMSGSIZE when more than 16 came, or
 * more than the process may open: then none is kept, and the bytes of this call are lost. ECONNRESET.
 */
export const receiveMessage = (fd: number, into: Uint8Array, descriptors: number[]): number | undefined =>
  unlessBusy(addon.receiveMessage(fd, into, descriptors), 'recvmsg');

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** getsockopt(2), SO_PEERCRED: who connected, or who listens, as the kernel saw it then. */
export function peerCredentials(fd: number): PeerCredentials {
  const values = new Float64Array(3);
  checked(addon.peerCredentials(fd, values), 'getsockopt');
  const [pid = 0, uid = 0, gid = 0] = values;
  return { pid, uid, gid };
}

/**
 * getsockopt(2), SO_PEERGROUPS: the supplementary groups of who connected, as the kernel saw them then. /proc
 * would say what the process has become since, or another with its number.
 */
export function peerGroups(fd: number): number[] {
  for (let room = 64; ; ) {
    const groups = new Float64Array(room);
    const count = checked(addon.peerGroups(fd, groups), 'getsockopt');
    if (count <= room) return [...groups.subarray(0, count)];
    room = count;
  }
}

/** ioctl(2), SIOCOUTQ: memory of what was sent and the peer has not received; 0 when it has all. */
export const unreadBytes = (fd: number): number => checked(addon.unreadBytes(fd), 'ioctl');

/** close(2). EBADF when it is not open: then somebody closed it twice. */
export const closeDescriptor = (fd: number): void => {
  checked(addon.closeDescriptor(fd), 'close');
};

/** shutdown(2), both ways: the peer reads to the end, for every duplicate of the descriptor. */
export const shutdownSocket = (fd: number): void => {
  checked(addon.shutdownSocket(fd), 'shutdown');
};

/** proc(5), /proc/self/fd: how many descriptors this process has open. */
export const openDescriptorCount = (): number => readdirSync('/proc/self/fd').length - 1;
