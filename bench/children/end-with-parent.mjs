// Loaded before a node's own code: a node that nobody can stop any more stops itself.
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
