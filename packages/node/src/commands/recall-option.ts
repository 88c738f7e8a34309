/** `--on-conflict` and `--recall-deadline` of `serve`: when pinned clients are in the way of a change. */
import { type Command, Option } from 'commander';
import { type OnConflict, onConflicts } from '../coordinator/recall.ts';
import { parseCount } from './size.ts';

export interface RecallOptions {
  readonly onConflict?: OnConflict;
  readonly recallDeadline?: number;
}

export const addRecallOptions = (command: Command): Command =>
  command
    .addOption(
      new Option(
        '--on-conflict <what>',
        'when a file is to be cut, punched, replaced or moved that a pinned client maps to write: wait ' +
          'for it to let go (default), deny at once, or wait and then revoke its session',
      ).choices([...onConflicts]),
    )
    .option(
      '--recall-deadline <ms>',
      'how long such a client may take to let go (default: 2000)',
      parseCount,
    );

/** As `startNode` takes them. */
export const recallPolicy = ({ onConflict, recallDeadline }: RecallOptions) => ({
  ...(onConflict === undefined ? {} : { onConflict }),
  ...(recallDeadline === undefined ? {} : { recallDeadlineMs: recallDeadline }),
});
