/**
 * The segments whose nodes run in this thread, by their ids. Who waits here, without giving the event loop a
 * turn, for what such a node has to do first waits for itself.
 */
export const nodesHere = new Set<string>();
