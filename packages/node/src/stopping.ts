/**
 * How a node stops: what others have of it comes home, what it has of theirs goes there, what is dirty is
 * stored.
 *
 *   serving ──leave──▶ giving back, clients served ──▶ dismissed ──▶ nobody is served
 */
import { markDisposable } from './claim.ts';
import type { ClusterHome } from './cluster/home.ts';
import type { Member } from './cluster/member.ts';
import { isGoneOnWith, standDown } from './cluster/membership.ts';
import { stopped } from './cluster/stopping.ts';
import type { Coordinator } from './coordinator/coordinator.ts';
import type { Server } from './server.ts';

interface StoppingParts {
  readonly home: ClusterHome | undefined;
  readonly member: Member | undefined;
  /** Those that are there by then. */
  readonly servers: readonly Server[];
  readonly onNotice: (message: string) => void;
}

export class Stopping {
  readonly #c: Coordinator;
  readonly #parts: StoppingParts;
  #isLeft = false;

  constructor(c: Coordinator, parts: StoppingParts) {
    this.#c = c;
    this.#parts = parts;
  }

  /** Whether the next node goes on with what is in memory. */
  get isLeft(): boolean {
    return this.#isLeft;
  }

  /** Before everything else at the end. A node alone without a store has nothing to do. */
  async leave(): Promise<void> {
    const { blocks, data, sessionLocks, writeBack } = this.#c;
    const { home, member, onNotice } = this.#parts;
    if (writeBack === undefined && blocks === undefined) return;
    sessionLocks.keep();
    home?.moving.stop();
    const dismiss = () => this.#dismiss();
    await standDown(this.#c, { home, member }, { dismiss, directory: data.directory, onNotice });
    await (this.#isLeft ? writeBack?.settled() : writeBack?.close());
    await blocks?.leave();
    await home?.close();
    member?.close();
  }

  /** Sessions end; their clients go on, and store into what they map. */
  async #dismiss(): Promise<void> {
    const { data, losses, writeBack } = this.#c;
    const { home, member, servers, onNotice } = this.#parts;
    this.#isLeft = isGoneOnWith(this.#c, { home, member });
    if (this.#isLeft) {
      await writeBack?.rest();
      this.#c.leaveMemory();
      if (writeBack !== undefined || member?.keepsSome !== true) {
        markDisposable(data.directory);
        onNotice(`what clients have mapped stays in ${data.directory}, for the next node there`);
      }
    }
    losses.unsaved?.hold();
    for (const server of servers) server.close(stopped('ECONNRESET'));
  }
}
