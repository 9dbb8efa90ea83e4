import { describe, expect, it } from 'vitest';
import { cellText, compare, nested, objects, widths } from './cell';
import { plan } from './chart';
import { customRange, rangeLabel, timespan } from './range';

describe('cells', () => {
  it.each([
    [null, 'string', ''],
    ['2026-11-22T02:00:00Z', 'datetime', '2026-11-22 02:00:00'],
    ['2026-11-22T02:00:00.1234567Z', 'datetime', '2026-11-22 02:00:00.123'],
    [true, 'bool', 'true'],
    [{ a: 1 }, 'dynamic', '{"a":1}'],
    ['1.02:03:04', 'timespan', '1.02:03:04'],
    [0, 'long', '0'],
  ])('%j as %s', (value, type, want) => {
    expect(cellText(value, type)).toBe(want);
  });

  it('opens dynamic values and strings of JSON, and nothing else', () => {
    expect(nested('{"a":1}', 'string')).toEqual({ a: 1 });
    expect(nested('[1', 'string')).toBeUndefined();
    expect(nested('"x"', 'dynamic')).toBeUndefined();
    expect(nested('12', 'string')).toBeUndefined();
  });

  it('sorts numbers as numbers, and empty cells last both ways', () => {
    const sorted = (d: boolean): unknown[] => [9, null, 10, 1].toSorted((a, b) => compare(a, b, 'long', d));
    expect(sorted(false)).toEqual([1, 9, 10, null]);
    expect(sorted(true)).toEqual([10, 9, 1, null]);
  });

  it('bounds widths and exports objects', () => {
    const result = { columns: [{ name: 'a', type: 'string' }, { name: 'b', type: 'dynamic' }], rows: [['x'.repeat(500), '{"k":[1]}']], truncated: false, statistics: { elapsedMs: 1, rows: 1 }, visualization: null };
    expect(widths(result)[0]).toBe(48);
    expect(objects(result)).toEqual([{ a: 'x'.repeat(500), b: { k: [1] } }]);
  });
});

describe('range', () => {
  it('round trips', () => {
    expect(rangeLabel('P1D')).toBe('Last 24 hours');
    expect(timespan('any')).toBe('');
    const range = customRange('2026-11-22T02:30', '2026-11-22T03:00');
    expect(range).toBe('2026-11-22T02:30:00Z/2026-11-22T03:00:00Z');
    expect(rangeLabel(range ?? '')).toBe('2026-11-22 02:30 to 2026-11-22 03:00');
    expect(customRange('2026-11-22T03:30', '2026-11-22T03:00')).toBeNull();
    expect(customRange('', 'x')).toBeNull();
  });
});

describe('chart plan', () => {
  const columns = [{ name: 'TimeGenerated', type: 'datetime' }, { name: 'Device', type: 'string' }, { name: 'Writes', type: 'long' }];
  const t = (h: number): string => `2026-11-22T0${h}:00:00Z`;
  const visualization = { kind: 'timechart', title: '', xColumn: '', yColumns: [], series: [] };
  it('makes a series per name, in order of size, the rest as Other', () => {
    const rows = Array.from({ length: 8 }, (_, i) => [t(0), `d${i}`, i + 1]);
    const p = plan({ columns, rows, truncated: false, statistics: { elapsedMs: 0, rows: 0 }, visualization }, visualization);
    expect(p?.kind).toBe('line');
    expect(p?.series.map((s) => s.name)).toEqual(['d7', 'd6', 'd5', 'd4', 'd3', 'Other']);
    expect(p?.series.at(-1)?.total).toBe(1 + 2 + 3);
  });
  it('keeps missing times as gaps', () => {
    const rows = [[t(0), 'a', 1], [t(1), 'b', 2], [t(2), 'a', 3]];
    const p = plan({ columns, rows, truncated: false, statistics: { elapsedMs: 0, rows: 0 }, visualization }, visualization);
    expect(p?.series.find((s) => s.name === 'a')?.values).toEqual([1, null, 3]);
  });
  it('draws bars for names, and nothing without numbers', () => {
    const bar = { ...visualization, kind: 'barchart' };
    const p = plan({ columns: columns.slice(1), rows: [['a', 1], ['b', 2]], truncated: false, statistics: { elapsedMs: 0, rows: 0 }, visualization: bar }, bar);
    expect(p?.kind).toBe('bars');
    expect(p?.labels).toEqual(['a', 'b']);
    expect(plan({ columns: [{ name: 'a', type: 'string' }], rows: [['x']], truncated: false, statistics: { elapsedMs: 0, rows: 0 }, visualization: bar }, bar)).toBeNull();
  });
});
