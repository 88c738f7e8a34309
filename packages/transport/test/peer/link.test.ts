import { randomBytes } from 'node:crypto';
import { getEventListeners } from 'node:events';
import { describe, expect, test, vi } from 'vitest';
import { FsError } from '../../src/errors.ts';
import { type ArrivedRequest, type PeerLink, peerLimits } from '../../src/peer/index.ts';
import { identityOf, newToken, none, noted, pair, probed } from './peers.ts';

describe.each([
  ['none', none],
  ['a token', newToken()],
])('with %s', (_, security) => {
  test('each end learns who the other is', async () => {
    const { client, server } = await pair({ security });
    expect(plain(client.peer)).toEqual(plain(identityOf(1)));
    expect(plain(server.peer)).toEqual(plain(identityOf(2)));
  });

  test('either end asks, and bytes come and go as they are', async () => {
    const { client, server } = await pair({ security });
    client.setHandlers({
      onRequest: probed((request) =>
        request.reply({ serial: 77 }, { payload: Buffer.from('from the client') }),
      ),
    });
    for (const length of [0, 1, 4096, 65_536, 65_537, 300_000, peerLimits.payloadBytes]) {
      const payload = randomBytes(length);
      const answer = await client.request('probe', { serial: length }, { payload });
      expect(answer.reply).toEqual({ serial: length });
      expect(Buffer.compare(answer.payload ?? Buffer.alloc(0), payload)).toBe(0);
    }
    const { reply, payload } = await server.request('probe', { serial: 1 });
    expect({ reply, said: Buffer.from(payload ?? []).toString() }).toEqual({
      reply: { serial: 77 },
      said: 'from the client',
    });
  });

  test("bytes are their receiver's for good; those of blocks while its handler runs", async () => {
    const { client, server } = await pair({ security });
    const sent = Array.from({ length: 16 }, () => randomBytes(150_000));
    const kept: Uint8Array[] = [];
    let seen = 0;
    client.setHandlers({
      onEvent: ({ name, payload = new Uint8Array(0) }) => {
        if (name === 'note') kept.push(payload);
        else seen += Buffer.compare(payload, sent[seen] as Buffer) === 0 ? 1 : 0;
      },
    });
    const block = { number: 1, received: 0, stag: randomBytes(16), index: 0, message: 0 };
    for (const [serial, payload] of sent.entries()) {
      server.event('note', { serial, what: undefined }, { payload });
      server.event('toHolder', block, { payload });
    }
    await vi.waitFor(() => expect(seen).toBe(sent.length));
    expect(Buffer.compare(Buffer.concat(kept), Buffer.concat(sent))).toBe(0);
  });

  test('memory of blocks may be used again when they have left', async () => {
    const { client, server } = await pair({ security });
    const memory = randomBytes(65_536);
    const seen: number[] = [];
    client.setHandlers({ onEvent: ({ payload = new Uint8Array(0) }) => seen.push(payload[1000] as number) });
    const block = { received: 0, stag: randomBytes(16), message: 0 };
    for (let number = 0; number < 100; number++) {
      memory.fill(number);
      await new Promise<void>((onLeft) => {
        server.event('toHolder', { ...block, number, index: number }, { payload: memory, onLeft });
      });
    }
    await vi.waitFor(() => expect(seen).toHaveLength(100));
    expect(seen).toEqual(Array.from({ length: 100 }, (_, number) => number));
  });

  test('it may be used again when the link ends before they have left, too', async () => {
    const { server } = await pair({ security });
    const payload = randomBytes(65_536);
    const block = { received: 0, stag: randomBytes(16), message: 0 };
    const given: Promise<void>[] = [];
    const say = (number: number) =>
      new Promise<void>((onLeft) => {
        server.event('toHolder', { ...block, number, index: number }, { payload, onLeft });
      });
    // Nobody reads in this turn, and so it ends.
    for (let number = 0; server.closed === undefined; number++) given.push(say(number));
    given.push(say(0));
    await Promise.all(given);
  });

  test('order and bytes are kept under load, from both ends at once', async () => {
    const { client, server } = await pair({ security });
    const ends = [client, server] as const;
    const heard = ends.map((end) => recordAll(end));
    const sent = await Promise.all(ends.map((end) => sayMuch(end)));
    expect(heard[1]).toEqual(sent[0]);
    expect(heard[0]).toEqual(sent[1]);
  });
});

const stops = new FsError('EAGAIN', 'stop', { why: 'the node stops' });

/** A link over which one request was begun, and is not answered. */
async function oneBegun() {
  const { client, server } = await pair();
  const arrived: ArrivedRequest<'probe'>[] = [];
  server.setHandlers({ onRequest: probed((request) => arrived.push(request)) });
  const begun = client.request('probe', { serial: 1 });
  await vi.waitFor(() => expect(arrived).toHaveLength(1));
  return { client, server, arrived, begun };
}

describe('a request', () => {
  test('fails with the code, the paths and the reason that the peer gives', async () => {
    const { client, server } = await pair();
    const error = new FsError('ESTALE', 'fetch', { path: '/a', dest: '/b', why: 'an old incarnation' });
    server.setHandlers({ onRequest: (request) => request.fail(error) });
    await expect(client.request('probe', { serial: 1 })).rejects.toMatchObject({
      code: 'ESTALE',
      syscall: 'fetch',
      path: '/a',
      dest: '/b',
      why: 'an old incarnation',
    });
    expect(client.closed).toBeUndefined();
  });

  test('that nobody answers there fails with ENOTSUP', async () => {
    const { client, server } = await pair();
    server.setHandlers({});
    await expect(client.request('probe', { serial: 1 })).rejects.toMatchObject({ code: 'ENOTSUP' });
  });

  test('is rejected with ECONNRESET when the link ends at either end, and so is each later one', async () => {
    for (const end of ['client', 'server'] as const) {
      const both = await pair();
      both.server.setHandlers({ onRequest: () => undefined });
      const asked = Array.from({ length: 200 }, (_, serial) => both.client.request('probe', { serial }));
      const outcomes = Promise.allSettled(asked);
      await vi.waitFor(() => expect(both.client.pendingRequests).toBe(200));
      both[end].close(new FsError('ECANCELED', 'close', { why: 'enough' }));
      for (const { reason } of (await outcomes) as PromiseRejectedResult[]) {
        expect(reason).toMatchObject({ code: 'ECONNRESET', why: expect.stringContaining('enough') });
      }
      await expect(both.client.request('probe', { serial: 1 })).rejects.toMatchObject({
        code: 'ECONNRESET',
      });
      // Either end can tell why: the other one was told.
      await vi.waitFor(() => expect(both.server.closed).toMatchObject({ code: 'ECANCELED', why: 'enough' }));
      expect(both.client.closed).toMatchObject({ code: 'ECANCELED', why: 'enough' });
    }
  });

  test('that its caller gives up is rejected at once, and the other end hears of it', async () => {
    const { client, server } = await pair();
    const arrived: ArrivedRequest<'probe'>[] = [];
    server.setHandlers({ onRequest: probed((request) => arrived.push(request)) });
    const controller = new AbortController();
    const asked = client.request('probe', { serial: 1 }, { signal: controller.signal });
    const [request] = await vi.waitFor(() => {
      expect(arrived).toHaveLength(1);
      return arrived;
    });
    expect(request?.signal.aborted).toBe(false);
    controller.abort(new Error('changed my mind'));
    await expect(asked).rejects.toThrow('changed my mind');
    await vi.waitFor(() => expect(request?.signal.aborted).toBe(true));
    expect(request?.signal.reason).toMatchObject({ code: 'ECANCELED' });
    // The answer that comes all the same hurts nobody.
    request?.reply({ serial: 1 });
    server.setHandlers({ onRequest: probed((next) => next.reply({ serial: 2 })) });
    await expect(client.request('probe', { serial: 2 })).resolves.toMatchObject({ reply: { serial: 2 } });
    expect(client.pendingRequests).toBe(0);
    const never = client.request('probe', { serial: 3 }, { signal: controller.signal });
    await expect(never).rejects.toThrow('changed my mind');
  });

  test('fails as the link did that has ended, also when its caller could give up', async () => {
    const { client } = await pair();
    client.close(new FsError('ECANCELED', 'probe', { why: 'enough' }));
    const { signal } = new AbortController();
    await expect(client.request('probe', { serial: 1 }, { signal })).rejects.toMatchObject({
      code: 'ECONNRESET',
    });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('that was begun is answered by a peer that quits; others fail as not begun', async () => {
    const { client, server, arrived, begun } = await oneBegun();
    const answered = server.refuse(stops, 60_000);
    await expect(client.request('probe', { serial: 2 })).rejects.toMatchObject({ code: 'EAGAIN' });
    const onItsWay = client.request('probe', { serial: 3 });
    arrived[0]?.reply({ serial: 4 });
    await answered;
    server.quit();
    await expect(begun).resolves.toMatchObject({ reply: { serial: 4 } });
    await expect(onItsWay).rejects.toMatchObject({ code: 'EAGAIN', why: expect.stringContaining('stops') });
    await expect(client.request('probe', { serial: 5 })).rejects.toMatchObject({ code: 'EAGAIN' });
    expect(arrived).toHaveLength(1);
  });

  test('that a peer which quits does not answer in time is rejected with ECONNRESET', async () => {
    const { client, server, begun } = await oneBegun();
    const onItsWay = client.request('probe', { serial: 2 });
    await Promise.all([
      server.refuse(stops, 1).then(() => server.quit()),
      expect(begun).rejects.toMatchObject({ code: 'ECONNRESET', why: expect.stringContaining('stops') }),
      expect(onItsWay).rejects.toMatchObject({ code: expect.stringMatching(/^(EAGAIN|ECONNRESET)$/) }),
    ]);
  });

  test('is aborted for who answers it when the link ends', async () => {
    const { client, server } = await pair();
    const signals: AbortSignal[] = [];
    server.setHandlers({ onRequest: ({ signal }) => signals.push(signal) });
    const asked = client.request('probe', { serial: 1 });
    await vi.waitFor(() => expect(signals).toHaveLength(1));
    client.close();
    await expect(asked).rejects.toMatchObject({ code: 'ECONNRESET' });
    await vi.waitFor(() => expect(signals[0]?.aborted).toBe(true));
  });

  test('is answered once: a second answer is a bug', async () => {
    const { client, server } = await pair();
    const again = vi.fn();
    server.setHandlers({
      onRequest: probed((request) => {
        request.reply({ serial: 1 });
        again(() => request.reply({ serial: 2 }));
      }),
    });
    await client.request('probe', { serial: 1 });
    expect(again.mock.calls[0]?.[0]).toThrow('a second answer to probe');
  });

  test('that is too long is rejected, and others go on', async () => {
    const { client } = await pair();
    const payload = Buffer.alloc(peerLimits.payloadBytes + 1);
    await expect(client.request('probe', { serial: 1 }, { payload })).rejects.toMatchObject({
      code: 'EMSGSIZE',
    });
    await expect(client.request('probe', { serial: 2 })).resolves.toMatchObject({ reply: { serial: 2 } });
    expect(client.pendingRequests).toBe(0);
  });

  test('with bytes waits while too many have no answer, and the rest of the link goes on', async () => {
    const { client, server } = await pair();
    const arrived: ArrivedRequest<'probe'>[] = [];
    const notes: number[] = [];
    server.setHandlers({
      onRequest: probed((request) => arrived.push(request)),
      onEvent: noted(({ serial }) => notes.push(serial)),
    });
    const count = peerLimits.bulkRequests * 3;
    const payload = Buffer.alloc(100, 1);
    const controller = new AbortController();
    const asked = Array.from({ length: count }, (_, serial) =>
      client.request(
        'probe',
        { serial },
        { payload, ...(serial === count - 1 ? { signal: controller.signal } : {}) },
      ),
    );
    client.event('note', { serial: 1 });
    await vi.waitFor(() => expect(notes).toEqual([1]));
    expect(arrived).toHaveLength(peerLimits.bulkRequests);
    // Who waits for its turn may give up, too.
    controller.abort(new Error('too long'));
    await expect(asked.pop()).rejects.toThrow('too long');
    server.setHandlers({ onRequest: probed((request) => request.reply({ serial: request.fields.serial })) });
    for (const request of arrived) request.reply({ serial: request.fields.serial });
    const answers = await Promise.all(asked);
    expect(answers.map(({ reply }) => reply.serial)).toEqual(asked.map((_, serial) => serial));
  });
});

/** What arrives, in order: serials, and the bytes with them. */
function recordAll(link: PeerLink): string[] {
  const heard: string[] = [];
  link.setHandlers({
    onEvent: noted(({ serial }, payload) => heard.push(`note ${serial} ${hexOf(payload)}`)),
    onRequest: probed((request) => {
      const { serial } = request.fields;
      heard.push(`probe ${serial} ${hexOf(request.payload)}`);
      request.reply({ serial }, { payload: request.payload ?? Buffer.alloc(0) });
    }),
  });
  return heard;
}

/** Events and requests in turn, as many at once as need no turn, with bytes of all lengths. */
async function sayMuch(link: PeerLink): Promise<string[]> {
  const said: string[] = [];
  for (let round = 0; round < 12; round++) {
    const answers: Promise<void>[] = [];
    for (let i = 0; i < peerLimits.bulkRequests; i++) {
      const serial = round * 1000 + i;
      const payload = randomBytes((serial * 7919) % 150_000);
      said.push(`note ${serial} ${hexOf(payload)}`, `probe ${serial} ${hexOf(payload)}`);
      link.event('note', { serial }, { payload });
      answers.push(
        link.request('probe', { serial }, { payload }).then((answer) => {
          expect(answer.reply.serial).toBe(serial);
          expect(hexOf(answer.payload)).toBe(hexOf(payload));
        }),
      );
    }
    await Promise.all(answers);
  }
  return said;
}

/** Enough of the bytes to tell them from all others. */
const hexOf = (bytes: Uint8Array | undefined): string => {
  const all = Buffer.from(bytes ?? []);
  return `${all.length} ${all.subarray(0, 8).toString('hex')} ${all.subarray(-8).toString('hex')}`;
};

/** Without the difference between a Buffer and a Uint8Array. */
const plain = (identity: object): unknown =>
  Object.fromEntries(
    Object.entries(identity).map(([k, v]) => [
      k,
      v instanceof Uint8Array ? Buffer.from(v).toString('hex') : v,
    ]),
  );
