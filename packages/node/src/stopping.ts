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
    const { home, member, servers, onNotice } = this.#parts;
    if (writeBack === undefined && blocks === undefined) return;
    for (const server of servers) server.refuse();
    sessionLocks.keep();
    home?.moving.stop();
    home?.migration?.stop();
    const dismiss = () => this.#dismiss();
    await standDown(this.#c, { home, member }, { dismiss, directory: data.directory, onNotice });
    const failure = await this.#store();
    if (failure === undefined && this.#isLeft && (writeBack !== undefined || member?.keepsSome !== true)) {
      markDisposable(data.directory);
      onNotice(`what clients have mapped stays in ${data.directory}, for the next node there`);
    }
    await blocks?.leave();
    await home?.close();
    member?.close();
    if (failure !== undefined) throw failure;
  }

  /** What is dirty goes to the store; why it does not, if so: then memory stays for the next node. */
  async #store(): Promise<Error | undefined> {
    const { writeBack, data } = this.#c;
    try {
      await (this.#isLeft ? writeBack?.sync() : writeBack?.close());
      return undefined;
    } catch (error) {
      this.#isLeft = true;
      const failure = error instanceof Error ? error : new Error(String(error));
      this.#parts.onNotice(`${failure.message}: what is not stored stays in ${data.directory}`);
      return failure;
    }
  }

  /** Sessions end; their clients go on, and store into what they map. */
  #dismiss(): { readonly isLeft: boolean } {
    const { losses, writeBack } = this.#c;
    const { home, member, servers } = this.#parts;
    this.#isLeft = isGoneOnWith(this.#c, { home, member });
    if (this.#isLeft) {
      writeBack?.rest();
      this.#c.leaveMemory();
    }
    losses.unsaved?.hold();
    for (const server of servers) server.close(stopped('ECONNRESET'));
    return { isLeft: this.#isLeft };
  }
}
