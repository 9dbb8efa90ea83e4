// The queue's address: which parameters mean what, and how answers become facet choices.

import type { Facets, IncidentPage, Incident } from '../../api/client';
import type { Choice } from '../../components/Facet.svelte';

export const pageSize = 50;
export const newestFirst = '-createdTime';
/** Columns that sort from A on the first press. */
export const ascendingFirst = ['title', 'owner'];
/** The owner filter's word for "nobody"; other owners are filtered by name. */
export const nobody = 'Unassigned';

export interface View {
  id: string;
  title: string;
  query: string;
}

/** Ready-made views; a view is only a set of parameters. */
export function savedViews(me: string): View[] {
  return [
    { id: 'open', title: 'Open', query: '' },
    { id: 'mine', title: 'Mine', query: `owner=${encodeURIComponent(me)}` },
    { id: 'urgent', title: 'High and unassigned', query: `severity=High&owner=${nobody}` },
    { id: 'closed', title: 'Closed', query: 'status=Closed' },
    { id: 'all', title: 'All', query: 'status=any' },
  ];
}

export const filters = ['status', 'severity', 'engine', 'owner', 'q'] as const;

export function ownerChoices(facets: Facets, me: string): Choice[] {
  const counts = facets['owner'] ?? {};
  const rest = Object.entries(counts).filter(([who]) => who !== '' && who !== nobody && who !== me);
  return [
    { value: me, label: 'Me', count: counts[me] ?? 0 },
    { value: nobody, label: 'Nobody', count: counts[nobody] ?? 0 },
    ...rest.map(([who, count]) => ({ value: who, label: who, count })).sort((a, b) => b.count - a.count || a.label.localeCompare(b.label)),
  ].filter((c) => c.value !== '');
}

/**
 * Takes a newer answer over into the rows on the page without moving any: known rows get their new
 * values in place, and the ones not on the page are counted.
 */
export function merge(shown: IncidentPage, newer: IncidentPage): { page: IncidentPage; fresh: number } {
  const byNumber = new Map(newer.items.map((i) => [i.number, i]));
  const items = shown.items.map((i): Incident => byNumber.get(i.number) ?? i);
  const known = new Set(shown.items.map((i) => i.number));
  return {
    page: { items, total: shown.total, facets: newer.facets },
    fresh: newer.items.filter((i) => !known.has(i.number)).length,
  };
}

/** Where an incident happened, for the caption of its row. */
export function place(i: Incident): string {
  return [i.site, i.zone].filter((s) => s !== '').join(' › ');
}
