/** Amounts as people write and read them: `64MiB` in, `1.5 GiB` out. */
import { InvalidArgumentError } from 'commander';

/** Powers of 1024, for `512M` as for `512MiB`: memory is never meant in powers of 1000. */
const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** Reads `64MiB`, `1.5GiB`, `512M` or plain bytes. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT])?(?:i?B)?$/i.exec(text.trim());
  const [, amount = '', unit = ''] = match ?? [];
  const power = unit === '' ? 0 : ' KMGT'.indexOf(unit.toUpperCase());
  const bytes = Number(amount) * 1024 ** power;
  if (match === null || !Number.isSafeInteger(bytes)) {
    throw new InvalidArgumentError('Give a size such as 64MiB, 1GiB, 512M or plain bytes.');
  }
  return bytes;
}

/** `1.5 GiB`: three digits at most, no trailing zeros. */
export function formatSize(bytes: number): string {
  let power = 0;
  let amount = bytes;
  // 1023.9 would be rounded to 1024, which is the next unit.
  while (amount >= 999.5 && power < units.length - 1) {
    amount /= 1024;
    power++;
  }
  const digits = amount >= 99.95 || power === 0 ? 0 : amount >= 9.995 ? 1 : 2;
  return `${Number(amount.toFixed(digits))} ${units[power]}`;
}

/** `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 20 min`. */
export function formatDuration(ms: number): string {
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${Number((ms / 1000).toFixed(1))} s`;
  const seconds = Math.round(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** `1 file`, `2 files`. */
export const count = (n: number, one: string, many = `${one}s`): string =>
  `${n.toLocaleString('en')} ${n === 1 ? one : many}`;

/** Reads a whole number that is not negative. */
export function parseCount(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError('Give a whole number.');
  }
  return value;
}
