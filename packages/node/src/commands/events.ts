import type { Command } from 'commander';
import { type Output, printable } from './output.ts';
import { clusterPath } from './paths.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addEvents(program: Command, host: Host): void {
  nodeVerb(program, 'events', {
    summary: 'show what happens, until Ctrl-C',
    description:
      'Files made, changed, replaced, moved, removed; sessions that come and go; clients that are recalled ' +
      'and what became of it. With --json a line each.',
    examples: ['clusterfs events', 'clusterfs events /models --json | jq .kind'],
  })
    .argument('[path]', 'only what happens there and below')
    .action(
      withMount(host, async ({ fs, out, signal }, _: object, path: string | undefined) => {
        const below = path === undefined ? {} : { path: clusterPath(path) };
        for await (const { kind, path: place, detail, timeMs } of fs.events({ ...below, signal })) {
          out.result({ timeMs, kind, path: place, detail });
          out.say(lineOf(out, { kind, place, detail, timeMs }));
        }
        signal.throwIfAborted();
      }),
    );
}

function lineOf(
  { colors }: Output,
  event: { kind: string; place: string | undefined; detail: unknown; timeMs: number },
): string {
  const { kind, place, detail, timeMs } = event;
  const time = new Date(timeMs);
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()]
    .map((n) => String(n).padStart(2, '0'))
    .join(':');
  const fields = Object.entries(detail ?? {}).map(([name, value]) => `${name}=${printable(String(value))}`);
  return [
    colors.dim(`${clock}.${String(time.getMilliseconds()).padStart(3, '0')}`),
    colors.bold(kind.padEnd(13)),
    ...(place === undefined ? [] : [printable(place)]),
    ...fields,
  ].join(' ');
}
