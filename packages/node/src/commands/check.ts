import type { Command } from 'commander';
import { Found } from './failure.ts';
import { type Host, nodeVerb, withMount } from './verb.ts';

export function addCheck(program: Command, host: Host): void {
  nodeVerb(program, 'check', {
    summary: 'check every invariant of the segment',
    description:
      'On the node, between two commits. A finding is a line, and means a bug; then the exit code is 1.',
    examples: ['clusterfs check && echo sound'],
  }).action(
    withMount(host, async ({ fs, out }) => {
      const findings = await fs.check();
      out.result({ findings });
      for (const finding of findings) out.say(finding);
      if (findings.length > 0) throw new Found(`${findings.length} findings`);
      out.say('sound: every invariant holds');
    }),
  );
}
