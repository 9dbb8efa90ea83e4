import { describe, expect, it } from 'vitest';
import type { Schema } from '../api/client';
import { blockAt, blocks, utf16Offset } from './block';
import { completions } from './complete';
import { tokenize, wordsOf } from './tokens';

const schema: Schema = {
  tables: [
    { name: 'SecurityAlert', description: 'Alerts', solutions: ['SecurityInsights'], columns: [{ name: 'AlertName', type: 'string', description: '' }, { name: 'TimeGenerated', type: 'datetime', description: '' }] },
    { name: 'OTDevice', description: '', solutions: [], columns: [{ name: 'Vendor', type: 'string', description: '' }] },
  ],
  functions: [
    { name: 'ago', kind: 'scalar', signature: 'ago(timespan)', description: '' },
    { name: 'count', kind: 'aggregate', signature: 'count()', description: '' },
  ],
  operators: [{ name: 'where', description: '' }, { name: 'mv-expand', description: '' }, { name: 'summarize', description: '' }, { name: 'count', description: '' }, { name: 'render', description: '' }],
};
const words = wordsOf(schema);

const kinds = (text: string): string => tokenize(text, words).map((t) => `${t.kind}:${text.slice(t.start, t.end)}`).join(' ');

describe('tokens', () => {
  it.each([
    ['SecurityAlert | where AlertName == "a | b" // c', 'table:SecurityAlert pipe:| keyword:where name:AlertName punctuation:= punctuation:= string:"a | b" comment:// c'],
    ['x - y | mv-expand a', 'name:x punctuation:- name:y pipe:| keyword:mv-expand name:a'],
    ['a-b', 'name:a punctuation:- name:b'],
    ['ago(90d) 1.5e3 0xFF 60m', 'function:ago punctuation:( number:90d punctuation:) number:1.5e3 number:0xFF number:60m'],
    ['| summarize count() | count', 'pipe:| keyword:summarize function:count punctuation:( punctuation:) pipe:| keyword:count'],
    [`@"c:\\" h'x' 'it\\'s'`, `string:@"c:\\" string:h'x' string:'it\\'s'`],
    ['"open\nnext', 'string:"open name:next'],
    ['```a\n"b``` c', 'string:```a\n"b``` name:c'],
    ['1..2', 'number:1 punctuation:. punctuation:. number:2'],
  ])('%j', (text, want) => {
    expect(kinds(text)).toBe(want);
  });

  it('covers any text without hanging or overlapping', () => {
    const alphabet = ['"', "'", '`', '@', '\\', '\n', '/', '|', 'a', '1', '.', '-', 'é', '😀', ' '];
    let seed = 7;
    for (let run = 0; run < 500; run++) {
      let text = '';
      for (let i = 0; i < 40; i++) {
        seed = (seed * 1103515245 + 12345) & 0x7fffffff;
        text += alphabet[seed % alphabet.length];
      }
      let end = 0;
      for (const t of tokenize(text, words)) {
        expect(t.start).toBeGreaterThanOrEqual(end);
        expect(t.end).toBeGreaterThan(t.start);
        end = t.end;
      }
      expect(end).toBeLessThanOrEqual(text.length);
    }
  });
});

describe('blocks', () => {
  const whole = 'A\n| take 1\n\n  \nB\n\nC | take 2';
  it('splits at blank lines', () => {
    expect(blocks(whole).map((b) => b.text)).toEqual(['A\n| take 1', 'B', 'C | take 2']);
    for (const b of blocks(whole)) expect(whole.slice(b.start, b.end)).toBe(b.text);
  });
  it.each([[0, 'A\n| take 1'], [10, 'A\n| take 1'], [12, 'A\n| take 1'], [15, 'B'], [16, 'B'], [17, 'B'], [999, 'C | take 2']])('cursor %i', (at, want) => {
    expect(blockAt(whole, at)?.text).toBe(want);
  });
  it('gives the first below when nothing is above, and none in an empty text', () => {
    expect(blockAt('\n\nX', 0)?.text).toBe('X');
    expect(blockAt(' \n', 1)).toBeNull();
  });
  it.each([['aé😀b', 0, 0], ['aé😀b', 1, 1], ['aé😀b', 3, 2], ['aé😀b', 7, 4], ['aé😀b', 99, 5]])('byte offset in %j: %i is %i', (text, bytes, units) => {
    expect(utf16Offset(text, bytes)).toBe(units);
  });
});

describe('completions', () => {
  const labels = (before: string, after = ''): string[] => completions(before, after, schema).map((c) => c.label);
  it('offers tables first, operators after a pipe, columns of the table within', () => {
    expect(labels('Sec')).toContain('SecurityAlert');
    expect(labels('SecurityAlert | ')).toEqual(['where', 'mv-expand', 'summarize', 'count', 'render']);
    expect(labels('SecurityAlert | wh')).toContain('where');
    const within = labels('SecurityAlert | where Al');
    expect(within).toContain('AlertName');
    expect(within).not.toContain('Vendor');
  });
  it('offers aggregates in summarize only, and names made by the query', () => {
    expect(labels('SecurityAlert | summarize ')).toContain('count');
    expect(labels('SecurityAlert | where ')).not.toContain('count');
    expect(labels('SecurityAlert | summarize n = count() by AlertName | where ')).toContain('n');
  });
  it('is silent in strings and comments, and speaks after a closed string', () => {
    expect(labels('SecurityAlert | where AlertName == "Sec')).toEqual([]);
    expect(labels('// Sec')).toEqual([]);
    expect(labels('SecurityAlert | where AlertName == "x" ')).toContain('and');
  });
});
