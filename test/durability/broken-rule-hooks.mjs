/** What `broken-rule.mjs` registers: see there, and https://nodejs.org/api/module.html#hooks */

/**
 * @typedef {import('node:module').LoadHookContext} Context
 * @typedef {import('node:module').LoadFnOutput} Loaded
 */

/** @type {{ module: string, from: string, to: string } | undefined} */
let rule;

export function initialize(/** @type {typeof rule} */ data) {
  rule = data;
}

/**
 * @param {string} url
 * @param {Context} context
 * @param {(url: string, context: Context) => Promise<Loaded>} next
 */
export async function load(url, context, next) {
  const loaded = await next(url, context);
  if (rule === undefined || !url.endsWith(rule.module)) return loaded;
  const { from, to } = rule;
  return { ...loaded, source: String(loaded.source).replace(from, () => to) };
}
