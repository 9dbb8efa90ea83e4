// Addresses of the UI's own pages.

export const incidentUrl = (number: number): string => `/incidents/${number}`;
export const deviceUrl = (id: string): string => `/devices/${encodeURIComponent(id)}`;

/** Opens a query on the Logs page and runs it. */
export function logsUrl(query: string, timespan = 'P7D'): string {
  return `/logs?${new URLSearchParams({ q: query, t: timespan, run: '1' })}`;
}

/** A KQL string literal. */
export function kqlString(s: string): string {
  return `"${s.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n').replaceAll('\r', '\\r').replaceAll('\t', '\\t')}"`;
}
