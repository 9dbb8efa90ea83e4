import { describe, expect, it } from 'vitest';
import { niceMax } from './scale';
import { csv } from './export';
import { kqlString, logsUrl } from './link';
import { bytes, number, plural, short } from './number';
import { ago, fullTime, isoDuration, meanTime, shortTime, span, timeOfDay } from './time.svelte';
import { engineWord, initials, spaced, statusWord, underDoNot } from './words';

const now = Date.parse('2026-11-22T02:34:06Z'); // a Sunday

describe('times, in UTC', () => {
  it.each([
    ['2026-11-22T02:26:51Z', '02:26'],
    ['2026-11-21T23:50:00Z', 'Sat 23:50'],
    ['2026-11-01T10:00:00Z', '1 Nov'],
    ['', ''],
    ['0001-01-01T00:00:00Z', ''],
    ['nonsense', ''],
  ])('%j is short %j', (iso, want) => {
    expect(shortTime(iso, now, 'UTC')).toBe(want);
  });
  it('long and relative', () => {
    expect(timeOfDay('2026-11-22T02:26:51.204Z', 'UTC')).toBe('02:26:51');
    expect(fullTime('2026-11-22T02:26:51Z', 'UTC')).toBe('22 Nov 2026, 02:26:51 UTC');
    expect(fullTime('', 'UTC')).toBe('never');
    expect(ago('2026-11-22T02:18:00Z', now)).toBe('16 min ago');
    expect(ago('2026-11-22T02:34:00Z', now)).toBe('just now');
    expect(ago('', now)).toBe('never');
  });
  it.each([[4000, '4 s'], [16 * 60_000, '16 min'], [9.5 * 3_600_000, '9 h 30 min'], [20 * 3_600_000, '20 h'], [72 * 3_600_000, '3 d']])('span of %i ms is %s', (ms, want) => {
    expect(span(ms)).toBe(want);
  });
  it('mean times and ISO durations', () => {
    expect(meanTime(242)).toEqual({ value: '4', unit: 'min' });
    expect(meanTime(8)).toEqual({ value: '8', unit: 's' });
    expect(meanTime(null)).toBeNull();
    expect(isoDuration('PT5M')).toBe('5 minutes');
    expect(isoDuration('P1DT1H')).toBe('1 day 1 hour');
    expect(isoDuration('5m')).toBe('5m');
    expect(isoDuration('PT0S')).toBe('');
  });
});

describe('numbers', () => {
  it.each([[5_412_880, '5,412,880'], [0, '0']])('%i', (n, want) => expect(number(n)).toBe(want));
  it.each([[999, '999 B'], [14_200, '14.2 kB'], [403_000_000, '403 MB']])('%i bytes', (n, want) => expect(bytes(n)).toBe(want));
  it.each([[320_000, '320 k'], [9000, '9,000'], [2_500_000, '2.5 M'], [0.5, '0.5']])('%d short', (n, want) => expect(short(n)).toBe(want));
  it('plurals', () => expect([plural(1, 'alert'), plural(0, 'alert'), plural(2, 'query', 'queries')]).toEqual(['1 alert', '0 alerts', '2 queries']));
  it.each([[0, 2, 2], [1, 2, 2], [7, 2, 8], [44, 2, 60], [101, 2, 120], [999, 2, 1000]])('axis for %d in %d parts ends at %d', (max, parts, want) => {
    expect(niceMax(max, parts)).toBe(want);
  });
  it('axis of fractions', () => expect(niceMax(0.7, 2, false)).toBe(0.8));
});

describe('words', () => {
  it('engines, tactics, people', () => {
    expect(engineWord('POLICY_VIOLATION')).toMatchObject({ css: 'policy', name: 'Policy violation' });
    expect(engineWord('Policy violation')).toMatchObject({ css: 'policy' });
    expect(engineWord('SOMETHING_NEW').name).toBe('Something new');
    expect(spaced('ImpairProcessControl')).toBe('Impair process control');
    expect(initials('Maren Okafor')).toBe('MO');
    expect(initials('')).toBe('?');
    expect(statusWord('InProgress')).toBe('Active');
    expect(['Do not scan back', 'Restart the PLC'].map(underDoNot)).toEqual(['Scan back', 'Restart the PLC']);
  });
});

describe('text for other programs', () => {
  it('quotes KQL strings', () => {
    expect(kqlString('a"b\\c\nd')).toBe('"a\\"b\\\\c\\nd"');
    expect(new URLSearchParams(logsUrl('A | take 1').split('?')[1]).get('q')).toBe('A | take 1');
  });
  it('writes CSV that no spreadsheet runs', () => {
    expect(csv(['a', 'b'], [['x,y', '"q"'], ['=1+1', '-5']])).toBe('a,b\r\n"x,y","""q"""\r\n\'=1+1,-5\r\n');
  });
});
