import { describe, expect, it } from 'vitest';
import type { Incident, IncidentPage } from '../../api/client';
import { IncidentPage as check } from '../../api/types';
import { chosenStatuses, sortOf, sortParam, statusParam } from '../../components/table';
import { ascendingFirst, merge, newestFirst } from './queue';

function page(items: Partial<Incident>[]): IncidentPage {
  return check({ items, total: items.length, facets: { status: { New: items.length } } }, '');
}

describe('address', () => {
  it.each([
    ['', ['New', 'Active']],
    ['any', []],
    ['Closed', ['Closed']],
    ['New,Closed', ['New', 'Closed']],
  ])('status %j round trip', (param, chosen) => {
    expect(chosenStatuses(param)).toEqual(chosen);
    expect(statusParam(chosen)).toBe(param);
  });

  it('sorts newest first until a head is pressed, and turns round on the second press', () => {
    const press = (now: string, key: string): string => sortParam(now, key, newestFirst, ascendingFirst);
    expect(sortOf('', newestFirst)).toEqual({ key: 'createdTime', descending: true });
    expect(press('', 'severity')).toBe('-severity');
    expect(press('-severity', 'severity')).toBe('severity');
    expect(press('severity', 'createdTime')).toBe('');
    expect(press('', 'title')).toBe('title');
  });
});

describe('merge', () => {
  it('keeps the order and the rows, takes new values, counts what is new', () => {
    const shown = page([{ number: 2, title: 'b', status: 'New' }, { number: 1, title: 'a', status: 'New' }]);
    const newer = page([{ number: 3, title: 'c' }, { number: 1, title: 'a', status: 'Active' }]);
    const got = merge(shown, newer);
    expect(got.page.items.map((i) => i.number)).toEqual([2, 1]);
    expect(got.page.items[1]?.status).toBe('Active');
    expect(got.page.items[0]?.status).toBe('New');
    expect(got.fresh).toBe(1);
    expect(got.page.facets).toEqual(newer.facets);
  });
});
