/**
 * How long a node may use what another one granted it, when they cannot hear each other (Gray, Cheriton:
 * Leases, 1989). Each counts on its own clock, which may go faster or slower by `clockDrift`, and may not
 * jump: CLOCK_MONOTONIC.
 *
 * The holder counts from when it *sent* the message that was answered last; the grantor from when one
 * *arrived* last, and a little longer. So the holder's lease is always over first.
 */
export interface LeaseTimes {
  /** How long a grant lasts without a word of the grantor. */
  readonly leaseMs: number;
  /** How often the holder asks for more: several times per lease. */
  readonly heartbeatMs: number;
  /** A holder's processes are cut off by their own clocks: by so much too late, at the most. */
  readonly cutOffMs: number;
}

export const defaultLease: LeaseTimes = { leaseMs: 5000, heartbeatMs: 500, cutOffMs: 250 };

/** Two clocks may disagree by so much of the time that passes; crystals do by 0.01 %. */
export const clockDrift = 0.02;

/** When the holder must have stopped, on its clock. */
export const heldUntilMs = ({ leaseMs }: LeaseTimes, answeredSentMs: number): number =>
  answeredSentMs + leaseMs;

/** From when on the grantor may give to others what the holder had, on its clock. */
export const reclaimableAtMs = ({ leaseMs, cutOffMs }: LeaseTimes, heardMs: number): number =>
  heardMs + (leaseMs + cutOffMs) * (1 + clockDrift);
