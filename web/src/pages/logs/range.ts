// Time ranges of a query: an ISO 8601 duration, "start/end", or "" for any time.

export const presets: { value: string; label: string }[] = [
  { value: 'PT30M', label: 'Last 30 minutes' },
  { value: 'PT4H', label: 'Last 4 hours' },
  { value: 'P1D', label: 'Last 24 hours' },
  { value: 'P3D', label: 'Last 3 days' },
  { value: 'P7D', label: 'Last 7 days' },
  { value: 'P30D', label: 'Last 30 days' },
  { value: 'P90D', label: 'Last 90 days' },
];
export const standard = 'P1D';
/** In the address, where "" would mean the standard range. */
export const anyTime = 'any';

export function rangeLabel(value: string): string {
  if (value === anyTime) return 'Set in query';
  const preset = presets.find((p) => p.value === value);
  if (preset) return preset.label;
  const [from, to] = value.split('/');
  return from && to ? `${short(from)} to ${short(to)}` : value;
}

const short = (iso: string): string => iso.replace('T', ' ').replace(/(:\d\d)?(\.\d+)?Z$/, '');

/** A custom range from two fields of the form "2026-11-22T02:30", read as UTC; null when it makes no sense. */
export function customRange(from: string, to: string): string | null {
  const a = Date.parse(`${from}Z`);
  const b = Date.parse(`${to}Z`);
  if (Number.isNaN(a) || Number.isNaN(b) || a >= b) return null;
  return `${iso(a)}/${iso(b)}`;
}

const iso = (ms: number): string => new Date(ms).toISOString().replace('.000Z', 'Z');

/** What the server is given. */
export function timespan(value: string): string {
  return value === anyTime ? '' : value;
}
