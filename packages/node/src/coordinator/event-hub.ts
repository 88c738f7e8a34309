/** What happened, for who asked to be told: subscribers of `events` and `watch`, and the log. */
import { posix } from 'node:path';
import type { Session } from './session.ts';

export type EventKind =
  | 'create'
  | 'modify'
  | 'attributes'
  | 'remove'
  | 'rename'
  | 'replace'
  | 'move'
  | 'defrag'
  | 'session-open'
  | 'session-close'
  | 'recall'
  | 'recalled'
  | 'publish'
  | 'node-join'
  | 'node-leave'
  | 'home-lost'
  | 'home-back'
  | 'lost';

/** What happens to files, and so on every node. */
const ofFiles: ReadonlySet<EventKind> = new Set([
  'create',
  'modify',
  'attributes',
  'remove',
  'rename',
  'replace',
  'move',
  'defrag',
  'publish',
  'lost',
]);

export class EventHub {
  readonly #now: () => number;
  readonly #sessions: () => Iterable<Session>;
  readonly #onError: (error: unknown) => void;
  #subscriptions = 0;
  #emitted = 0;

  /** Tells other nodes, too; true when clients of this one are to be told at once, and not with them. */
  relay:
    | ((kind: EventKind, path: string | undefined, detail: Readonly<Record<string, unknown>>) => boolean)
    | undefined;

  constructor({
    now,
    sessions,
    onError,
  }: {
    now: () => number;
    sessions: () => Iterable<Session>;
    onError: (error: unknown) => void;
  }) {
    this.#now = now;
    this.#sessions = sessions;
    this.#onError = onError;
  }

  /** Events since the start. */
  get emitted(): number {
    return this.#emitted;
  }

  subscribe(session: Session, id: number, path: string | undefined): void {
    this.unsubscribe(session, id);
    session.subscriptions.set(id, path === undefined || path === '/' ? undefined : path.replace(/\/+$/, ''));
    this.#subscriptions++;
  }

  unsubscribe(session: Session, id: number): void {
    if (session.subscriptions.delete(id)) this.#subscriptions--;
  }

  /** Requires: what is told has been committed. */
  emit(kind: EventKind, path: string | undefined, detail: Readonly<Record<string, unknown>>): void {
    if (ofFiles.has(kind) && this.relay?.(kind, path, detail) === false) return;
    this.deliver(kind, path, detail);
  }

  /** Tells the clients of this node. */
  deliver(kind: EventKind, path: string | undefined, detail: Readonly<Record<string, unknown>>): void {
    this.#emitted++;
    if (this.#subscriptions === 0) return;
    const timeMs = this.#now();
    const place = path === undefined ? undefined : posix.normalize(`/${path}`);
    const to = typeof detail.to === 'string' ? detail.to : undefined;
    for (const { subscriptions, control } of this.#sessions()) {
      for (const [subscription, below] of subscriptions) {
        if (isBelow(place, below) || isBelow(to, below))
          control.event('event', { subscription, kind, path: place, detail, timeMs });
      }
    }
  }

  /** A failure that nobody waits for. */
  report(error: unknown): void {
    this.#onError(error);
  }
}

const isBelow = (path: string | undefined, below: string | undefined): boolean =>
  below === undefined || (path !== undefined && (path === below || path.startsWith(`${below}/`)));
