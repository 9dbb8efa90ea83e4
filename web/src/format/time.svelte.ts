// Times as people read them. One zone for the whole page, UTC unless the reader switches.

export type Zone = 'UTC' | 'local';

const store = 'otus.zone';
const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

class Clock {
  zone = $state<Zone>(readZone());
  /** The wall clock, to the half minute; for "3 min ago". */
  now = $state(Date.now());

  constructor() {
    if (typeof window !== 'undefined') setInterval(() => (this.now = Date.now()), 15 * second);
  }

  setZone(zone: Zone): void {
    this.zone = zone;
    try {
      localStorage.setItem(store, zone);
    } catch {
      // storage may be forbidden; the choice then lasts as long as the page
    }
  }
}

function readZone(): Zone {
  try {
    return localStorage.getItem(store) === 'local' ? 'local' : 'UTC';
  } catch {
    return 'UTC';
  }
}

export const clock = new Clock();

const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: Zone, name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${zone} ${name}`;
  let f = formats.get(key);
  if (!f) {
    f = new Intl.DateTimeFormat('en-GB', { ...options, hourCycle: 'h23', ...(zone === 'UTC' ? { timeZone: 'UTC' } : {}) });
    formats.set(key, f);
  }
  return f;
}

function parse(iso: string): number | null {
  if (iso === '' || iso.startsWith('0001-')) return null;
  const ms = Date.parse(iso);
  return Number.isNaN(ms) ? null : ms;
}

/** "02:26:51"; "" for no time. */
export function timeOfDay(iso: string, zone: Zone = clock.zone): string {
  const ms = parse(iso);
  return ms === null ? '' : format(zone, 'time', { hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(ms);
}

/** "02:26" today, "Sat 23:50" within a week, "14 Nov" before; for lists. */
export function shortTime(iso: string, now = clock.now, zone: Zone = clock.zone): string {
  const ms = parse(iso);
  if (ms === null) return '';
  const hm = format(zone, 'hm', { hour: '2-digit', minute: '2-digit' }).format(ms);
  if (dayOf(ms, zone) === dayOf(now, zone)) return hm;
  if (Math.abs(now - ms) < 6 * day) return `${format(zone, 'weekday', { weekday: 'short' }).format(ms)} ${hm}`;
  return format(zone, 'date', { day: 'numeric', month: 'short' }).format(ms);
}

/** "22 Nov 2026, 02:26:51 UTC"; "never" for no time. */
export function fullTime(iso: string, zone: Zone = clock.zone): string {
  const ms = parse(iso);
  if (ms === null) return 'never';
  const f = format(zone, 'full', { day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit' });
  return `${f.format(ms)} ${zone === 'UTC' ? 'UTC' : 'local'}`;
}

/** "22 Nov" and "Sun 00:00"; labels of an axis. */
export function axisTime(ms: number, withDay: boolean, zone: Zone = clock.zone): string {
  const hm = format(zone, 'hm', { hour: '2-digit', minute: '2-digit' }).format(ms);
  return withDay ? `${format(zone, 'weekday', { weekday: 'short' }).format(ms)} ${hm}` : hm;
}

export function axisDate(ms: number, zone: Zone = clock.zone): string {
  return format(zone, 'date', { day: 'numeric', month: 'short' }).format(ms);
}

function dayOf(ms: number, zone: Zone): string {
  return format(zone, 'day', { year: 'numeric', month: '2-digit', day: '2-digit' }).format(ms);
}

/** "3 min ago", "2 h ago"; "never" for no time. */
export function ago(iso: string, now = clock.now): string {
  const ms = parse(iso);
  if (ms === null) return 'never';
  const d = now - ms;
  if (d < 45 * second) return 'just now';
  return `${span(d)} ago`;
}

/** A duration in its largest sensible unit: "45 s", "16 min", "9 h 30 min", "3 d". */
export function span(ms: number): string {
  if (ms < minute) return `${Math.max(0, Math.round(ms / second))} s`;
  if (ms < hour) return `${Math.round(ms / minute)} min`;
  if (ms < day) {
    const h = Math.floor(ms / hour);
    const m = Math.round((ms - h * hour) / minute);
    return m === 0 || h >= 12 ? `${h} h` : `${h} h ${m} min`;
  }
  return `${Math.round(ms / day)} d`;
}

/** A mean time in seconds as a figure and its unit; null where nothing was measured. */
export function meanTime(seconds: number | null): { value: string; unit: string } | null {
  if (seconds === null || seconds <= 0) return null;
  if (seconds < 90) return { value: String(Math.round(seconds)), unit: 's' };
  if (seconds < 90 * 60) return { value: String(Math.round(seconds / 60)), unit: 'min' };
  return { value: (seconds / 3600).toFixed(1), unit: 'h' };
}

/** ISO 8601 duration as words: "PT5M" is "5 minutes", zero is ""; what is not one comes back as it is. */
export function isoDuration(iso: string): string {
  const m = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$/.exec(iso);
  if (!m) return iso;
  const names = ['day', 'hour', 'minute', 'second'];
  const parts = names.flatMap((name, i) => {
    const n = Number(m[i + 1] ?? 0);
    return n === 0 ? [] : [`${n} ${name}${n === 1 ? '' : 's'}`];
  });
  return parts.join(' ');
}
