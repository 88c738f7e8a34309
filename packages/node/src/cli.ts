/** The program behind `clusterfs`. */
import { runCommandLine } from './commands/program.ts';

await runCommandLine(process.argv.slice(2), { exit: (code) => process.exit(code) });
