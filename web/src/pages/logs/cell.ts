// Values of a query's result, as text, as the table shows and exports them.

import type { QueryResult } from '../../api/client';
import type { Zone } from '../../format/time.svelte';

export type Row = QueryResult['rows'][number];

const numeric = new Set(['int', 'long', 'real', 'decimal']);

export const isNumeric = (type: string): boolean => numeric.has(type);

/** The text of a cell; null reads as "". */
export function cellText(value: unknown, type: string, zone: Zone = 'UTC'): string {
  if (value === null || value === undefined) return '';
  if (type === 'datetime' && typeof value === 'string') return dateText(value, zone);
  if (typeof value === 'object') return JSON.stringify(value);
  return String(value);
}

function dateText(iso: string, zone: Zone): string {
  const m = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?Z$/.exec(iso);
  if (!m) return iso;
  const fraction = (m[3] ?? '').slice(0, 3).padEnd(3, '0');
  const tail = fraction === '000' ? '' : `.${fraction}`;
  if (zone === 'UTC') return `${m[1]} ${m[2]}${tail}`;
  const d = new Date(iso);
  const two = (n: number): string => String(n).padStart(2, '0');
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}${tail}`;
}

/** A dynamic value, or a string that holds an object or array of JSON; undefined for all else. */
export function nested(value: unknown, type: string): unknown {
  if (typeof value === 'object' && value !== null) return value;
  if (typeof value !== 'string') return undefined;
  const s = value.trim();
  if (type !== 'dynamic' && !/^[[{]/.test(s)) return undefined;
  try {
    const parsed: unknown = JSON.parse(s);
    return typeof parsed === 'object' && parsed !== null ? parsed : undefined;
  } catch {
    return undefined;
  }
}

/** Order for sorting a column: empty cells last, whichever way round. */
export function compare(a: unknown, b: unknown, type: string, descending: boolean): number {
  const emptyA = a === null || a === undefined || a === '';
  const emptyB = b === null || b === undefined || b === '';
  if (emptyA || emptyB) return emptyA && emptyB ? 0 : emptyA ? 1 : -1;
  let order: number;
  if (isNumeric(type)) order = Number(a) - Number(b);
  else {
    const x = cellText(a, type);
    const y = cellText(b, type);
    order = x < y ? -1 : x > y ? 1 : 0;
  }
  return descending ? -order : order;
}

const sampled = 60;

/** Column widths in characters, from heads and the first rows. */
export function widths(result: QueryResult): number[] {
  return result.columns.map((c, i) => {
    let longest = c.name.length + c.type.length + 4;
    for (const row of result.rows.slice(0, sampled)) longest = Math.max(longest, cellText(row[i], c.type).length + 2);
    return Math.min(48, Math.max(8, longest));
  });
}

/** Every row as an object, for the JSON export. */
export function objects(result: QueryResult): Record<string, unknown>[] {
  return result.rows.map((row) => Object.fromEntries(result.columns.map((c, i) => [c.name, nested(row[i], c.type) ?? row[i] ?? null])));
}
