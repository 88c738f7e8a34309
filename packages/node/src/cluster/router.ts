/**
 * Which node answers what a client asks: names and attributes are the coordinator's, content is the home's of
 * the file, and what concerns the memory of this node is its own.
 *
 * A file may get another home while somebody waits for it. Who asked the old one is told EAGAIN, and the
 * new one is asked.
 */
import { constants } from 'node:fs';
import { type AnyRequest, FsError, type Reply, type Request, type RequestName } from '@cluster-fs/transport';
import { walk } from 'cluster-fs/segment';
import { setAttributes } from '../coordinator/attributes.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { type AnyReply, moved, type Routes } from '../coordinator/elsewhere.ts';
import { close, open, wantsWrite } from '../coordinator/open.ts';
import type { Handle, Session } from '../coordinator/session.ts';
import { coordinatorNumber, followMs, type Homes, movedPollMs } from './homes.ts';
import { RemoteContent } from './remote-content.ts';

/** What each node answers by itself. */
const local: ReadonlySet<RequestName> = new Set([
  'hello',
  'attach',
  'resumed',
  'lease',
  'mapped',
  'present',
  'release',
  'advance',
  'reserve',
  'fetch',
  'evict',
  'pin',
  'status',
  'holders',
  'revoke',
  'subscribe',
  'unsubscribe',
  'check',
] satisfies RequestName[]);

const attributes = ['mode', 'uid', 'gid', 'atimeMs', 'mtimeMs'] as const;
const noAttributes = {
  follow: true,
  mode: undefined,
  uid: undefined,
  gid: undefined,
  atimeMs: undefined,
  mtimeMs: undefined,
};

type Here = () => AnyReply | Promise<AnyReply>;
type Opens = (request: Request<'open'>) => Promise<Reply<'open'>>;

export class Router implements Routes {
  readonly #c: Coordinator;
  readonly #homes: Homes;
  readonly #content: RemoteContent;

  constructor(c: Coordinator, homes: Homes) {
    this.#c = c;
    this.#homes = homes;
    this.#content = new RemoteContent(c, homes);
  }

  answer(session: Session, request: AnyRequest, here: Here): AnyReply | Promise<AnyReply> {
    const answer = this.#answer(session, request, here);
    if (request.name !== 'sync' || session.isGuest) return answer;
    return this.#toldOfLosses(session, request.fields.ino, answer);
  }

  /** A sync cannot bring back what was lost before it: who stored that must hear of it. */
  async #toldOfLosses<T>(session: Session, ino: number | undefined, synced: T | Promise<T>): Promise<T> {
    const reply = await synced;
    await this.#homes.settled(ino);
    this.#c.losses.tell(session, ino);
    return reply;
  }

  #answer(session: Session, request: AnyRequest, here: Here): AnyReply | Promise<AnyReply> {
    if (local.has(request.name)) return here();
    if (request.name === 'writeEnd')
      return this.#content.has(request.fields.grant)
        ? this.#content.writeEnd(session, request.fields)
        : here();
    if (isByName(request) && !this.#homes.isCurrent) return this.#whenCurrent(session, request, here);
    const ino = fileOf(this.#c, session, request);
    if (ino === undefined) return this.#decide(session, request, here);
    // Its own node asks the next home: requests do not follow a file from node to node.
    if (session.isGuest) {
      if (this.#homes.homeOf(ino) !== this.#homes.self) throw moved(request.name);
      return here();
    }
    return this.#homes.following(ino, (home) =>
      home === this.#homes.self ? here() : this.#atHome(home, session, request),
    );
  }

  /** While this node was away a name may have become that of another file, or of none. */
  async #whenCurrent(session: Session, request: AnyRequest, here: Here): Promise<AnyReply> {
    await this.#homes.neighbour(coordinatorNumber).line.told(() => this.#homes.told?.(), followMs);
    return this.#answer(session, request, here);
  }

  /** What the coordinator alone may change. */
  #decide(session: Session, request: AnyRequest, here: Here): AnyReply | Promise<AnyReply> {
    const isCoordinator = this.#homes.self === coordinatorNumber;
    if (!isCoordinator && session.isGuest) throw moved(request.name);
    if (request.name === 'open') return this.#open(session, request.fields, isCoordinator);
    if (isCoordinator) return here();
    return this.#atCoordinator(
      () => this.#atHome(coordinatorNumber, session, request),
      () => fileOf(this.#c, session, request) !== undefined,
      () => this.#answer(session, request, here),
    );
  }

  /**
   * Asks the coordinator about a name. There may be a file that has another home, and that this node has not
   * heard of yet: when it has, `anew` asks there.
   */
  async #atCoordinator<T>(
    ask: () => T | Promise<T>,
    isHeardOf: () => boolean,
    anew: () => T | Promise<T>,
  ): Promise<T> {
    const endMs = performance.now() + followMs;
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== 'EAGAIN' || performance.now() > endMs) throw error;
        await this.#c.answers.next(movedPollMs);
        if (isHeardOf()) return anew();
      }
    }
  }

  /** A file of another home is truncated there, by the node of the client. */
  #open(
    session: Session,
    request: Request<'open'>,
    isCoordinator: boolean,
  ): Reply<'open'> | Promise<Reply<'open'>> {
    const ask: Opens = (fields) =>
      isCoordinator
        ? open(this.#c, session, fields)
        : this.#homes.neighbour(coordinatorNumber).open(session, fields);
    const found = () => inoAt(this.#c, session, request.path);
    const ino = (request.flags & constants.O_TRUNC) === 0 ? 0 : found();
    if (ino === 0 && (isCoordinator || session.isGuest)) return ask(request);
    if (ino === 0)
      return this.#atCoordinator(
        () => ask(request),
        () => found() !== 0,
        () => this.#open(session, request, isCoordinator),
      );
    if (session.isGuest) {
      if (this.#homes.homeOf(ino) !== coordinatorNumber) throw moved('open');
      return ask(request);
    }
    return this.#homes.following(ino, (home) =>
      home === coordinatorNumber ? ask(request) : this.#openTruncated(session, request, ask),
    );
  }

  async #openTruncated(session: Session, request: Request<'open'>, ask: Opens): Promise<Reply<'open'>> {
    const { path, flags } = request;
    const opened = await ask({ ...request, flags: flags & ~constants.O_TRUNC });
    // By the handle, if that may write: the name may be of another file by now.
    const file = wantsWrite(flags) ? { path: undefined, handle: opened.handle } : { path, handle: undefined };
    const fields = { ...noAttributes, ...file, size: 0, syscall: 'open' };
    try {
      await this.answer(session, { name: 'setAttributes', fields }, () =>
        setAttributes(this.#c, session, fields),
      );
      return opened;
    } catch (error) {
      close(this.#c, session, opened.handle);
      throw error;
    }
  }

  #atHome(home: number, session: Session, request: AnyRequest): Promise<AnyReply> {
    const { line } = this.#homes.neighbour(home);
    switch (request.name) {
      case 'put':
        return this.#content.put(line, session, request.fields);
      case 'attachPages':
        return this.#content.attachPages(line, session, request.fields);
      case 'writeBegin':
        return this.#content.writeBegin(session, request.fields);
      case 'write':
        return this.#content.write(line, session, request.fields);
      case 'setAttributes':
        return this.#resize(home, session, request.fields);
      default:
        return line.ask(session, request.name, request.fields);
    }
  }

  /** The size is for the home to change, the rest for the coordinator. */
  async #resize(home: number, session: Session, fields: Request<'setAttributes'>): Promise<AnyReply> {
    const { line } = this.#homes.neighbour(home);
    if (home === coordinatorNumber) return line.ask(session, 'setAttributes', fields);
    const { path, handle, follow, syscall, size } = fields;
    const sized = { ...noAttributes, path, handle, follow, syscall, size };
    const reply = await line.ask(session, 'setAttributes', sized);
    if (attributes.every((name) => fields[name] === undefined)) return reply;
    const rest = { ...fields, size: undefined };
    return this.answer(session, { name: 'setAttributes', fields: rest }, () =>
      setAttributes(this.#c, session, rest),
    );
  }

  handleClosed(session: Session, handle: Handle): void {
    for (const { line } of this.#homes.neighbours) line.handleClosed(session, handle);
  }

  sessionEnded(session: Session): void {
    this.#content.forget(session);
    for (const { line } of this.#homes.neighbours) line.sessionEnded(session);
  }
}

/** Whether a request means what its path leads to. */
function isByName({ name, fields }: AnyRequest): boolean {
  return name !== 'sync' && (fields as { readonly handle?: number }).handle === undefined;
}

/** The file whose content a request is about; undefined when it is about names and attributes. */
function fileOf(c: Coordinator, session: Session, request: AnyRequest): number | undefined {
  const byHandle = (handle: number): number | undefined => session.handles.get(handle)?.ino;
  const byPath = (path: string | undefined, follow = true): number | undefined =>
    inoAt(c, session, path ?? '', follow) || undefined;
  switch (request.name) {
    case 'attachPages':
    case 'writeBegin':
    case 'write':
      return byHandle(request.fields.handle);
    case 'put':
    case 'fallocate': {
      const { handle, path } = request.fields;
      return handle === undefined ? byPath(path) : byHandle(handle);
    }
    case 'setAttributes': {
      const { size, handle, path, follow } = request.fields;
      if (size === undefined) return undefined;
      return handle === undefined ? byPath(path, follow) : byHandle(handle);
    }
    case 'move':
      return byPath(request.fields.path);
    case 'sync':
      return request.fields.ino;
    default:
      return undefined;
  }
}

/** 0 when there is none, or it may not be reached: who decides says why. */
function inoAt(c: Coordinator, session: Session, path: string, follow = true): number {
  try {
    return walk(c.segment, path, { follow, syscall: 'open', credentials: session.credentials }).ino;
  } catch (error) {
    if (error instanceof FsError) return 0;
    throw error;
  }
}
