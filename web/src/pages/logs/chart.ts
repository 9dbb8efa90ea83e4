// From a result and its render operator to what is drawn.

import type { QueryResult, Visualization } from '../../api/client';
import { cellText, isNumeric } from './cell';

export interface Series {
  name: string;
  total: number;
  /** One per x; null where there is no row: a gap, not a zero. */
  values: (number | null)[];
}

export interface Plan {
  kind: 'line' | 'columns' | 'bars';
  /** Milliseconds for a time axis; null for names. */
  times: number[] | null;
  labels: string[];
  series: Series[];
  xName: string;
  yName: string;
}

const mostSeries = 6;
const mostBars = 30;
const lines = new Set(['timechart', 'linechart', 'areachart', 'stackedareachart']);

/** Null where the result cannot be drawn: no number, no row. */
export function plan(result: QueryResult, v: Visualization): Plan | null {
  const { columns, rows } = result;
  const at = (name: string): number => columns.findIndex((c) => c.name === name);
  const timed = lines.has(v.kind);
  let x = at(v.xColumn);
  if (x < 0) x = columns.findIndex((c) => c.type === 'datetime');
  if (x < 0) x = columns.findIndex((c) => !isNumeric(c.type));
  if (x < 0) x = 0;
  const named = v.yColumns.map(at).filter((i) => i >= 0);
  const ys = named.length > 0 ? named : columns.flatMap((c, i) => (isNumeric(c.type) && i !== x ? [i] : []));
  const given = v.series.map(at).filter((i) => i >= 0);
  const split = given.length > 0 ? given : columns.flatMap((c, i) => (i !== x && (c.type === 'string' || c.type === 'bool' || c.type === 'guid') ? [i] : []));
  if (ys.length === 0 || rows.length === 0) return null;

  const isTime = columns[x]?.type === 'datetime';
  const raw = rows.map((r) => cellText(r[x], columns[x]?.type ?? ''));
  const keys = [...new Set(raw)];
  if (isTime) keys.sort();
  const place = new Map(keys.map((k, i) => [k, i]));
  const found = new Map<string, Series>();
  rows.forEach((row, r) => {
    const who = split.map((i) => cellText(row[i], columns[i]?.type ?? '')).join(', ');
    for (const y of ys) {
      const value = row[y];
      if (value === null || value === undefined || Number.isNaN(Number(value))) continue;
      const label = columns[y]?.name ?? '';
      const name = who === '' ? label : ys.length === 1 ? who : `${who}: ${label}`;
      let s = found.get(name);
      if (!s) found.set(name, (s = { name, total: 0, values: keys.map(() => null) }));
      const i = place.get(raw[r] ?? '') ?? 0;
      s.values[i] = (s.values[i] ?? 0) + Number(value);
      s.total += Number(value);
    }
  });
  const series = fold([...found.values()].sort((a, b) => b.total - a.total || a.name.localeCompare(b.name)));
  const kind = timed && isTime ? 'line' : v.kind === 'barchart' || v.kind === 'piechart' ? 'bars' : 'columns';
  const cut = kind === 'line' ? keys.length : mostBars;
  return {
    kind,
    times: isTime ? keys.map((k) => Date.parse(`${k.replace(' ', 'T')}Z`)) : null,
    labels: keys.slice(0, cut),
    series: series.map((s) => ({ ...s, values: s.values.slice(0, cut) })),
    xName: columns[x]?.name ?? '',
    yName: ys.length === 1 ? (columns[ys[0] ?? 0]?.name ?? '') : '',
  };
}

/** At most six series; the smaller ones together are "Other". */
function fold(series: Series[]): Series[] {
  if (series.length <= mostSeries) return series;
  const rest = series.slice(mostSeries - 1);
  const other: Series = { name: 'Other', total: 0, values: series[0]?.values.map(() => null) ?? [] };
  for (const s of rest) {
    other.total += s.total;
    s.values.forEach((v, i) => {
      if (v !== null) other.values[i] = (other.values[i] ?? 0) + v;
    });
  }
  return [...series.slice(0, mostSeries - 1), other];
}
