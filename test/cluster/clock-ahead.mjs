/** A client for which each lease is over as soon as it is there. */
const { bigint } = process.hrtime;
const aheadNs = 3_600_000_000_000n;
process.hrtime.bigint = () => bigint() + aheadNs;
