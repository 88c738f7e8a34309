/**
 * The node's log, on stderr: lines for people, or with --verbose pino's JSON, which also has what is only of
 * interest when something is looked for.
 */
export interface Log {
  /** What the operator should know. */
  notice(text: string): void;
  /** What went wrong, and no client hears of. */
  error(text: string, error?: unknown): void;
  /** Only with --verbose. */
  detail(fields: Readonly<Record<string, unknown>>, text: string): void;
}

export async function createLog({ verbose }: { readonly verbose: boolean }): Promise<Log> {
  if (!verbose) {
    const line = (text: string): void => {
      process.stderr.write(`clusterfs: ${text.replace(/\s*\n\s*/g, ' ')}\n`);
    };
    return {
      notice: (text) => line(text),
      error: (text, error) => line(`${text}${error === undefined ? '' : `: ${messageOf(error)}`}`),
      detail: () => undefined,
    };
  }
  const { destination, pino } = await import('pino');
  // Written at once: the last words before the end are the ones that matter.
  const logger = pino({ base: null, level: 'debug' }, destination({ dest: 2, sync: true }));
  return {
    notice: (text) => logger.info(text),
    error: (text, error) => logger.error({ err: error }, text),
    detail: (fields, text) => logger.debug(fields, text),
  };
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
