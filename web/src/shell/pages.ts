// The pages, and how to load each. Their list, shared with the server, is pages.json.

import type { Component } from 'svelte';
import list from '../../pages.json';

export interface PageEntry {
  id: string;
  path: string;
  title: string;
  area: string;
  icon: string;
  key: string;
}

export const pages: readonly PageEntry[] = list;

type Load = () => Promise<{ default: Component }>;

interface Views {
  /** The page at /path. */
  main: Load;
  /** The page at /path/x, where there is one. */
  one?: Load;
}

export const views: Record<string, Views> = {
  overview: { main: () => import('../pages/overview/Overview.svelte') },
  incidents: { main: () => import('../pages/incidents/Incidents.svelte'), one: () => import('../pages/incidents/Incident.svelte') },
  logs: { main: () => import('../pages/logs/Logs.svelte') },
  analytics: { main: () => import('../pages/analytics/Analytics.svelte') },
  connectors: { main: () => import('../pages/connectors/Connectors.svelte'), one: () => import('../pages/connectors/Connector.svelte') },
  sites: { main: () => import('../pages/sites/Sites.svelte') },
  alerts: { main: () => import('../pages/alerts/Alerts.svelte') },
  devices: { main: () => import('../pages/devices/Devices.svelte'), one: () => import('../pages/devices/Device.svelte') },
};

/** The view for an address's segments; null when there is no such page. */
export function viewOf(segments: readonly string[]): { page: PageEntry; load: Load } | null {
  const page = pages.find((p) => p.path === (segments[0] ?? ''));
  const view = page && views[page.id];
  if (!page || !view || segments.length > 2) return null;
  const load = segments.length === 2 ? view.one : view.main;
  return load ? { page, load } : null;
}
