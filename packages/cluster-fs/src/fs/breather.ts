/**
 * Lets the event loop turn in a loop of awaited reads.
 *
 * What is answered from shared memory is answered before the call returns, so `await` alone only runs
 * microtasks: a program that reads in a loop would keep its own timers and sockets waiting, among them the
 * answers of the node.
 */

export const limits = {
  /**
   * Reads in a row without a turn of the event loop: about a millisecond of the largest that are done at
   * once.
   */
  reads: 64,
} as const;

/**
 * Called before a read: mostly undefined, and now and then a promise to wait for. Those who wait go on in
 * order.
 */
export type Breather = () => Promise<void> | undefined;

export function createBreather(): Breather {
  let reads = 0;
  let turn: Promise<void> | undefined;
  return () => {
    if (++reads < limits.reads) return undefined;
    turn ??= new Promise((resolve) => {
      setImmediate(() => {
        reads = 0;
        turn = undefined;
        resolve();
      });
    });
    return turn;
  };
}
