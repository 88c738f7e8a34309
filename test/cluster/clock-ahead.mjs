/** A client for which each lease is over before the node has renewed it, and there again a moment later. */
const { bigint } = process.hrtime;
const aheadNs = 4_700_000_000n;
process.hrtime.bigint = () => bigint() + aheadNs;
