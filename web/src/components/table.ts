// Facet choices out of the server's counts, for pages that have plain ones.

import type { Facets } from '../api/client';
import { severities } from '../api/types';
import { engineWord, severityWord } from '../format/words';
import type { Choice } from './Facet.svelte';

export const split = (param: string): string[] => (param === '' ? [] : param.split(','));

export function plainChoices(facets: Facets, name: string): Choice[] {
  return Object.entries(facets[name] ?? {})
    .filter(([value]) => value !== '')
    .map(([value, count]) => ({ value, label: value, count }))
    .sort((a, b) => b.count - a.count || a.label.localeCompare(b.label));
}

export function severityChoices(facets: Facets): Choice[] {
  return severities.map((s) => ({ value: s, label: severityWord(s), count: facets['severity']?.[s] ?? 0, glyph: { severity: s } }));
}

export function statusChoices(facets: Facets): Choice[] {
  const kinds = { New: 'new', Active: 'active', Closed: 'closed' } as const;
  return (['New', 'Active', 'Closed'] as const).map((s) => ({ value: s, label: s, count: facets['status']?.[s] ?? 0, glyph: { status: kinds[s] } }));
}

export function engineChoices(facets: Facets): Choice[] {
  return Object.entries(facets['engine'] ?? {})
    .filter(([code]) => code !== '')
    .map(([code, count]) => {
      const word = engineWord(code);
      return { value: code, label: word.name, count, glyph: { icon: word.icon, css: word.css } };
    })
    .sort((a, b) => b.count - a.count || a.label.localeCompare(b.label));
}

export const openStatuses = ['New', 'Active'];

/** Status chosen by an address: absent means open ones, "any" means all. */
export function chosenStatuses(param: string): string[] {
  if (param === '') return openStatuses;
  return param === 'any' ? [] : param.split(',');
}

export function statusParam(chosen: readonly string[]): string {
  if (chosen.length === 0) return 'any';
  return chosen.length === openStatuses.length && openStatuses.every((s) => chosen.includes(s)) ? '' : chosen.join(',');
}

/** "-createdTime" and back. */
export function sortOf(param: string, standard: string): { key: string; descending: boolean } {
  const s = param === '' ? standard : param;
  return { key: s.replace(/^-/, ''), descending: s.startsWith('-') };
}

/** The sort parameter after a head is pressed: once for its natural direction, again to turn round. */
export function sortParam(current: string, key: string, standard: string, ascendingFirst: readonly string[]): string {
  const now = sortOf(current, standard);
  const descending = now.key === key ? !now.descending : !ascendingFirst.includes(key);
  const next = `${descending ? '-' : ''}${key}`;
  return next === standard ? '' : next;
}
