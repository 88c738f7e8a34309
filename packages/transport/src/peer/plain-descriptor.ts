/**
 * The descriptor of a connection whose bytes travel as they are. Node has it under no other name than its
 * handle's; without it everything goes by way of the stream, and nothing else changes.
 */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** Undefined for one that is encrypted, not connected yet, or closed: its number may be another file's. */
export function plainDescriptorOf(socket: Socket): number | undefined {
  if (socket instanceof TLSSocket || socket.connecting) return undefined;
  const fd = (socket as Socket & { readonly _handle?: { readonly fd?: number } | null })._handle?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
}
