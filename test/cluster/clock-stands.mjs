/** Breaks a client on purpose: no lease is ever over for it. */
process.hrtime.bigint = () => 0n;
