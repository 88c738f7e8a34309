/** Breaks a node on purpose: it says that a copy is gone, and goes on to read it. */
import { cacheTable } from 'cluster-fs/coherence';

Object.assign(cacheTable.S, { invalidate: { next: 'S', actions: ['invalidateAck'] } });
