/**
 * Requests that come after the subscriptions asked for before them.
 *
 * The two travel by different connections, so the node may see a change first that this process made after it
 * began to watch, and would not tell of it. A change therefore waits until the node has taken note of every
 * watcher before it.
 */
import type { Backend } from './backend.ts';

export type Requests = Pick<Backend, 'request' | 'subscribe'>;

export function createRequests(backend: Backend): Requests {
  let subscribing: Promise<unknown> | undefined;
  return {
    request: (name, fields, options) =>
      subscribing === undefined
        ? backend.request(name, fields, options)
        : subscribing.then(() => backend.request(name, fields, options)),
    subscribe: (path, listener) => {
      const subscription = backend.subscribe(path, listener);
      const done = (): void => {
        if (subscribing === settled) subscribing = undefined;
      };
      const settled = Promise.all([subscribing, subscription]).then(done, done);
      subscribing = settled;
      return subscription;
    },
  };
}
