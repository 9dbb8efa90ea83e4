import { describe, expect, it } from 'vitest';
import { count, dict, flag, id, list, maybe, part, shape, ShapeError, text, word } from './check';
import { IncidentDetail, QueryResult, Visualization } from './types';

describe('validators', () => {
  const Thing = shape({ id, name: text, size: count, on: flag, tags: list(text), of: dict(count), kind: word(['a', 'b'], 'a'), gone: maybe(text), inner: part({ n: count }) });

  it('reads absent values of the plain kinds as zero values', () => {
    const zero = { id: 'x', name: '', size: 0, on: false, tags: [], of: {}, kind: 'a', gone: null, inner: { n: 0 } };
    expect(Thing({ id: 'x' }, '')).toEqual(zero);
    expect(Thing({ id: 'x', name: null, tags: null, of: null, inner: null, unknown: 1 }, '')).toEqual(zero);
  });

  it.each([
    [{}, 'id: want string that is not empty, got undefined'],
    [{ id: 'x', size: '3' }, 'size: want number, got string'],
    [{ id: 'x', tags: ['a', 3] }, 'tags[1]: want string, got number'],
    [{ id: 'x', of: { a: true } }, 'of.a: want number, got boolean'],
    [{ id: 'x', inner: [] }, 'inner: want object, got array'],
    [null, 'body: want object, got null'],
  ])('%j is refused with its place', (value, message) => {
    expect(() => Thing(value, '')).toThrow(ShapeError);
    expect(() => Thing(value, '')).toThrow(message);
  });

  it('falls back on words it does not know', () => {
    expect(word(['a', 'b'], 'a')('c', '')).toBe('a');
  });
});

describe('answers', () => {
  it('reads an incident as the server sends it, with a person as author and times that are not known', () => {
    const incident = IncidentDetail(
      { number: 4, title: 't', closedTime: null, owner: null, comments: [{ id: 'c', author: { name: 'Ann', email: 'a@x' }, message: 'm', createdTime: 'T' }], alerts: [{ systemAlertId: 's', source: { name: '', address: '', deviceId: '' }, explanation: null, pcapUrl: null }], sync: null },
      '',
    );
    expect(incident.comments[0]?.author).toBe('Ann');
    expect(incident.alerts[0]?.explanation).toEqual({ meaning: '', impact: '', safe: [], avoid: [], ask: '' });
    expect(incident.sync).toEqual([]);
  });

  it('reads the render operator beside or apart from its kind', () => {
    const want = { kind: 'timechart', title: 'T', xColumn: 'a', yColumns: ['b', 'c'], series: [] };
    expect(Visualization({ kind: 'timechart', title: 'T', xcolumn: 'a', ycolumns: 'b, c' }, '')).toEqual(want);
    expect(Visualization({ kind: 'timechart', properties: { title: 'T', xcolumn: 'a', ycolumns: ['b', 'c'] } }, '')).toEqual(want);
  });

  it('reads rows of any values', () => {
    expect(QueryResult({ columns: [{ name: 'a', type: 'long' }], rows: [[1], [null]] }, '').rows).toEqual([[1], [null]]);
    expect(QueryResult({ columns: null, rows: null }, '').rows).toEqual([]);
  });
});
