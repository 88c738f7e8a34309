/**
 * Sessions that this thread has ended. Their node may have been away, or was killed in that moment, and would
 * wait for them when it is started again: the next session with it names them.
 */
interface Ended {
  /** Id of the segment, in hex. */
  readonly segment: string;
  readonly session: number;
}

/** As many as are remembered, the newest. */
const most = 64;

let all: readonly Ended[] = [];

/** Requires: nothing of them is mapped, and no copy is under way. */
export function sessionsEnded(segment: string, sessions: readonly number[]): void {
  all = [...all, ...sessions.map((session) => ({ segment, session }))].slice(-most);
}

export const endedSessions = (segment: string): number[] =>
  all.filter((ended) => ended.segment === segment).map(({ session }) => session);

/** The node knows of these. */
export function forgetEnded(segment: string, sessions: readonly number[]): void {
  all = all.filter((ended) => ended.segment !== segment || !sessions.includes(ended.session));
}
