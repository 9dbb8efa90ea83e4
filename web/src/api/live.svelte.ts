// Server-sent events: one stream for the whole page, reconnected for ever, handed on by kind.

import { Change } from './client';

export type Kind = 'incident' | 'alert' | 'device' | 'connector' | 'sensor' | 'summary';
const kinds: readonly Kind[] = ['incident', 'alert', 'device', 'connector', 'sensor', 'summary'];

export interface LiveEvent {
  kind: Kind;
  id: string;
  change: string;
}

type Listener = (e: LiveEvent) => void;

const listeners = new Set<Listener>();
const retryMilliseconds = 3000;

class Live {
  /** What the page may claim of its data. */
  state = $state<'connecting' | 'live' | 'broken'>('connecting');
  #source: EventSource | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dropped = false;

  start(): void {
    if (this.#source) return;
    const source = new EventSource('/otus/v1/events');
    this.#source = source;
    source.onopen = () => {
      this.state = 'live';
      // What happened while the line was down is unknown: everything may have changed.
      if (this.#dropped) for (const kind of kinds) emit({ kind, id: '', change: 'updated' });
      this.#dropped = false;
    };
    source.onerror = () => {
      this.state = 'broken';
      this.#dropped = true;
      if (source.readyState === EventSource.CLOSED) {
        this.#source = null;
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.start(), retryMilliseconds);
      }
    };
    for (const kind of kinds) source.addEventListener(kind, (e) => receive(kind, e));
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    this.state = 'connecting';
  }
}

function receive(kind: Kind, e: MessageEvent): void {
  try {
    emit({ kind, ...Change(JSON.parse(String(e.data)), kind) });
  } catch {
    emit({ kind, id: '', change: 'updated' }); // unreadable: treat it as "something changed"
  }
}

function emit(e: LiveEvent): void {
  for (const listener of listeners) listener(e);
}

/** Calls run for each event of the kinds until the returned function is called. */
export function listen(wanted: readonly Kind[], run: Listener): () => void {
  const listener: Listener = (e) => {
    if (wanted.includes(e.kind)) run(e);
  };
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const live = new Live();
