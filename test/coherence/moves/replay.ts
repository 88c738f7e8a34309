/**
 * Takes the steps of a run of the model (move.pml) with `Leading`, `Moving`, `Taken`, `HandingOver`, `Home`
 * and `Holder`, one after another. After each step this is compared: what was answered or is waited for; who
 * leads; the home, the move and the candidate that each node knows; whether the file stands still there; and
 * what its processes may do. Throws where the two differ.
 */
import { FsError } from '@cluster-fs/transport';
import { type HandedOver, Leading, Moving } from 'cluster-fs/coherence';
import { type Access, ReplayNode } from './replay-node.ts';

const ino = 0;
const generation = 1;
/** As the model numbers them. */
const answers: Readonly<Record<number, string>> = { 3: 'yes', 4: 'no', 5: 'no' };
const accesses: readonly Access[] = ['none', 'read', 'write'];

interface Waiting {
  resolve(value?: never): void;
  reject(error: unknown): void;
}

interface Move {
  readonly from: number;
  readonly to: number;
  readonly abort: AbortController;
  /** Of `take`, `give` and `handOver`, when they are answered. */
  readonly answers: Map<string, string>;
  said: HandedOver | undefined;
  hearing: AbortController;
}

export class Replay {
  readonly #nodes: readonly ReplayNode[];
  readonly #moves: Move[] = [];
  readonly #waiting = new Map<string, Waiting>();
  readonly #posted: (() => void)[] = [];
  #leading: Leading | undefined;
  #home = 1;
  /** The step that is taken, and of which move. */
  #step = '';
  #move = 0;
  #newest = 0;
  #links = 0;
  readonly #failures: unknown[] = [];
  committed = 0;

  /** `code`: what each node does about a move. */
  constructor(code: typeof Moving<number, number> = Moving) {
    this.#nodes = [1, 2].map((id) => new ReplayNode(this, id, code));
  }

  /** The steps that were taken, in the words of the model. */
  readonly steps: string[] = [];

  async run(lines: readonly string[]): Promise<void> {
    for (const node of this.#nodes) node.start(false);
    Object.assign(this.node(1), { value: 0, disk: 0, isAbsent: false, access: 'write' });
    this.#lead(1);
    for (const node of this.#nodes) node.connect(++this.#links);
    await this.#settle();
    for (const line of lines) {
      const [mark, name = '', ...args] = line.split(' ');
      if (mark === '@') {
        this.steps.push(line);
        await this.#take(name, args.map(Number));
      } else if (mark === '=') this.#compare([name, ...args].map(Number));
    }
  }

  node(id: number): ReplayNode {
    return this.#nodes[id - 1] as ReplayNode;
  }

  // For the nodes.

  post(run: () => void): void {
    this.#posted.push(run);
  }

  isAt(step: string): boolean {
    return this.#step === step;
  }

  wait<T>(what: string, move = this.#move): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(`${what} ${move}`, { resolve: resolve as Waiting['resolve'], reject });
    });
  }

  reverts(value: number): void {
    this.#newest = value;
  }

  say(said: HandedOver): Promise<number> {
    this.#of(said.move).said = said;
    return this.wait('handed');
  }

  ask(node: number, move: number): Promise<boolean> {
    const is = this.#leading?.isMoving(ino, move);
    return this.wait<void>(`asked ${node}`, move).then(() => is as boolean);
  }

  // The steps.

  #of(move: number): Move {
    return this.#moves[move] as Move;
  }

  #goOn(what: string, value?: unknown): void {
    const key = `${what} ${this.#move}`;
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) throw new Error(`nobody waits for ${key}`);
    this.#waiting.delete(key);
    if (value instanceof FsError) waiting.reject(value);
    else waiting.resolve(value as never);
  }

  #failIfWaiting(what: string, move: number): void {
    const key = `${what} ${move}`;
    this.#waiting.get(key)?.reject(unreachable());
    this.#waiting.delete(key);
  }

  async #settle(): Promise<void> {
    for (let turn = 0; turn < 40; turn++) {
      for (let next = this.#posted.shift(); next !== undefined; next = this.#posted.shift()) next();
      for (const node of this.#nodes) node.settle();
      await undefined;
    }
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  async #take(name: string, args: readonly number[]): Promise<void> {
    const [first = 0, second = 0, third = 0] = args;
    this.#step = name;
    this.#move = first;
    const step = this.#steps[name];
    if (step === undefined) throw new Error(`the model takes a step ${name}`);
    step(first, second, third);
    await this.#settle();
    const request = requests[name];
    if (request !== undefined)
      this.#expect(`the answer to ${request}`, this.#of(first).answers.get(request), answers[second]);
    for (const node of this.#nodes)
      if (node.may !== 'none' && node.value !== this.#newest)
        throw new Error(`processes of node ${node.id} see ${node.value}, and ${this.#newest} is the newest`);
  }

  #expect(what: string, is: unknown, inModel: unknown): void {
    if (is !== inModel) throw new Error(`${what} is ${is}, and ${inModel} in the model`);
  }

  #compare([id = 0, ...of]: readonly number[]): void {
    if (id === 0) {
      const [move = 0, isAt, home] = of;
      this.#expect(`whether move ${move} is led`, this.#leading?.isMoving(ino, move) === true, isAt === 1);
      this.#expect('the home that the coordinator names', this.#home, home);
      return;
    }
    const [home, isTaking, isGiving, candidate, access = 0, isStill] = of;
    const node = this.node(id);
    this.#expect(`the home at node ${id}`, node.home, home);
    this.#expect(`the candidate at node ${id}`, node.candidate ?? 0, candidate);
    this.#expect(`what processes of node ${id} may do`, node.may, accesses[access]);
    if (!node.isAlive) return;
    this.#expect(`whether node ${id} takes the file`, node.moving.isTaking(ino), isTaking === 1);
    this.#expect(`whether node ${id} has given the file`, node.moving.isGiving(ino), isGiving === 1);
    const still = node.handing.givenTo(ino) !== undefined;
    this.#expect(`whether the file stands still at node ${id}`, still, isStill === 1);
  }

  #lead(firstMove: number): void {
    const request = (what: string) => (file: { readonly move: number }) => this.wait<never>(what, file.move);
    this.#leading = new Leading(
      {
        take: request('take'),
        give: request('give'),
        commit: request('commit'),
        moved: () => undefined,
        // It is as if it were lost: the nodes ask by themselves.
        gave: () => undefined,
      },
      { firstMove },
    );
  }

  /** Begins what a node is asked for, and notes how it ends. */
  #request(name: string, work: Promise<unknown>): void {
    const { answers: given } = this.#of(this.#move);
    const note = (answer: string): void => {
      if (!given.has(name)) given.set(name, answer);
    };
    work.then(
      () => note('yes'),
      (error: unknown) => {
        if (!(error instanceof FsError)) this.#failures.push(error);
        note('no');
      },
    );
  }

  readonly #steps: Readonly<Record<string, (first: number, second: number, third: number) => void>> = {
    begin: (move, from, to) => {
      const abort = new AbortController();
      this.#moves[move] = {
        from,
        to,
        abort,
        answers: new Map(),
        said: undefined,
        hearing: new AbortController(),
      };
      this.#leading
        ?.lead({ ino, generation }, { from, to }, { signal: abort.signal })
        .catch((error: unknown) => {
          if (!(error instanceof FsError)) this.#failures.push(error);
        });
    },
    abort: (move) => {
      const reason = new FsError('ECANCELED', 'move', { why: 'somebody ended it' });
      this.#of(move).abort.abort(reason);
      this.#goOn('take', reason);
    },
    taken: (move, isTaken, isLinked) => {
      this.#goOn('take', isTaken === 1 ? { present: 1, total: 1 } : unreachable());
      if (isTaken === 1 && isLinked === 0) void this.#settle().then(() => this.#failIfWaiting('give', move));
    },
    commit: (move) => {
      this.#goOn('give');
      this.#home = this.#of(move).to;
      this.committed++;
    },
    failed: () => this.#goOn('give', unreachable()),
    moved: () => this.#goOn('commit'),

    take: (move) => {
      const { from, to } = this.#of(move);
      this.#request('take', this.node(to).moving.take({ ino, generation, move, from }));
    },
    brought: (move, answer) => {
      this.node(this.#of(move).to).broughtAll = answer === 3;
      this.#goOn('room');
    },
    abandon: (move) => this.node(this.#of(move).to).abandon(),

    give: (move) => {
      const { from, to } = this.#of(move);
      this.#request('give', this.node(from).moving.give({ ino, generation, move, to }));
    },
    enter: () => this.#goOn('enter'),
    hold: () => this.#goOn('hold', () => undefined),
    say: (move, _, alone) => {
      this.#goOn('settled');
      void this.#settle().then(() => {
        const { said } = this.#of(move);
        if (said !== undefined) this.#expect('whether others have a copy', said.alone.length, alone);
      });
    },
    late: (_, state) => this.#goOn(state === 6 ? 'enter' : 'settled', new FsError('ETIMEDOUT', 'move')),
    given: (move) => {
      this.#goOn('handed', this.#of(move).answers.get('handOver') === 'yes' ? move : unreachable());
    },

    handOver: (move) => {
      const { from, to, said } = this.#of(move);
      const hearing = new AbortController();
      this.#of(move).hearing = hearing;
      const node = this.node(to);
      node.isFetching = true;
      const by = { number: from, session: node.sessionHere, signal: hearing.signal };
      const answer = (): void => {
        this.#of(move).answers.set('handOver', 'yes');
      };
      this.#request('handOver', node.moving.handOver(said as HandedOver, by, answer));
    },
    fetch: (move) => {
      const { from, to, said } = this.#of(move);
      this.node(to).fault(from, said?.alone.length === 0 ? 'read' : 'write');
    },
    prepare: (move) => {
      this.node(this.#of(move).to).isFetching = false;
      this.#goOn('block');
    },
    missed: (move) => {
      this.node(this.#of(move).to).isFetching = false;
      this.#goOn('block', new FsError('ETIMEDOUT', 'move'));
    },
    store: () => this.#goOn('store'),

    ask: (move, node) => this.node(node).moving.heardOfEnd({ ino, move }),
    over: (_, node) => this.#goOn(`asked ${node}`),
    hear: (node, home) => this.node(node).rehomed(home),

    die: (node) => {
      if (node === 0) {
        this.#leading = undefined;
        return;
      }
      this.#cut(0, node);
      this.#cut(node, 3 - node);
      this.#cut(3 - node, node);
      this.node(node).die();
    },
    loseHost: (node) => this.node(node).loseHost(),
    restart: (node) => {
      if (node === 0) this.#lead(Math.max(1, this.#moves.length));
      else this.node(node).restart();
    },
    open: (node) => this.node(node).open(),
    cut: (user, keeper) => this.#cut(user, keeper),
    link: (user, keeper) => {
      if (user !== 0 && keeper !== 0 && this.node(user).goesOn) this.node(user).connect(++this.#links);
    },
    welcome: (user) => this.node(user).connect(++this.#links),
    fence: (user) => this.node(user).fence(),
    reclaim: (_, keeper) => this.node(keeper).reclaim(),

    write: (node) => {
      this.node(node).value = ++this.#newest;
    },
    sync: (node) => {
      this.node(node).disk = this.node(node).value;
    },
    own: (node, keeper) => this.node(node).fault(keeper, 'write'),
    load: (node, keeper) => this.node(node).fault(keeper, 'read'),
    yield: (node, keeper) => this.node(node).giveUp(keeper),
    rest: () => undefined,
  };

  #cut(user: number, keeper: number): void {
    if (keeper === 0) {
      for (const move of this.#moves.keys()) this.#failIfWaiting(`asked ${user}`, move);
      return;
    }
    for (const [move, of] of this.#moves.entries()) {
      if (of === undefined) continue;
      if (user === 0) {
        if (of.to === keeper) this.#failIfWaiting('take', move);
        if (of.from === keeper) this.#failIfWaiting('give', move);
      } else if (of.from === user && of.to === keeper) {
        of.hearing.abort(unreachable());
        this.#failIfWaiting('handed', move);
      }
    }
    if (user !== 0) this.node(user).disconnect();
  }
}

/** The steps after which the answer to a request is compared. */
const requests: Readonly<Record<string, string>> = {
  take: 'take',
  brought: 'take',
  give: 'give',
  enter: 'give',
  hold: 'give',
  say: 'give',
  given: 'give',
  handOver: 'handOver',
  prepare: 'handOver',
  store: 'handOver',
};

const unreachable = (): FsError => new FsError('ECONNRESET', 'request', { why: 'no link' });
