// The query cache: a resource is server data under a key. A page that comes back shows what it had at
// once and refreshes it; server-sent events refresh it while it stands, at most once in a pause.

import { untrack } from 'svelte';
import { isAbort, Problem } from './http';
import { listen, type Kind } from './live.svelte';

const kept = new Map<string, unknown>();
const mostKept = 60;

function keep(key: string, value: unknown): void {
  kept.delete(key);
  kept.set(key, value);
  if (kept.size > mostKept) {
    const oldest = kept.keys().next().value;
    if (oldest !== undefined) kept.delete(oldest);
  }
}

/** Forgets all server data, at sign-out. */
export function forget(): void {
  kept.clear();
}

export interface Resource<T> {
  /** The newest data; null until the first answer. */
  readonly data: T | null;
  readonly error: Problem | null;
  /** First load: nothing to show yet. */
  readonly loading: boolean;
  /** A newer answer is on its way, data is what was. */
  readonly updating: boolean;
  reload(): Promise<void>;
  /** Puts data in by hand, for a change that the server has confirmed. */
  set(data: T): void;
}

export interface ResourceOptions<T> {
  /** Events that make the data stale. */
  on?: readonly Kind[];
  /** Narrows events to those that touch the data shown. */
  when?: (id: string, data: T) => boolean;
  /** Takes over an answer that an event caused, instead of showing it at once. */
  arrived?: (data: T) => void;
}

/** From an event to the refresh it causes: short after quiet, longer while events keep coming. */
const pauseMilliseconds = 300;
const busyPauseMilliseconds = 2000;
const retryMilliseconds = 4000;

/** Loads and keeps data for the key; a null key loads nothing. Call it while a component is being made. */
export function resource<T>(key: () => string | null, load: (signal: AbortSignal) => Promise<T>, options: ResourceOptions<T> = {}): Resource<T> {
  let data = $state.raw<T | null>(null);
  let error = $state.raw<Problem | null>(null);
  let busy = $state(false);
  let current: string | null = null;
  let shown: string | null = null; // the key whose answer data is
  let controller: AbortController | null = null;
  let retry: ReturnType<typeof setTimeout> | undefined;

  async function run(caused: 'key' | 'event' | 'hand'): Promise<void> {
    const wanted = current;
    if (wanted === null) return;
    controller?.abort();
    clearTimeout(retry);
    const mine = new AbortController();
    controller = mine;
    busy = true;
    try {
      const answer = await load(mine.signal);
      if (mine.signal.aborted || current !== wanted) return;
      keep(wanted, answer);
      error = null;
      if (caused === 'event' && options.arrived && shown === wanted) options.arrived(answer);
      else data = answer;
      shown = wanted;
    } catch (err) {
      if (isAbort(err) || mine.signal.aborted) return;
      error = err instanceof Problem ? err : new Problem(-1, 'The answer could not be read', err instanceof Error ? err.message : String(err));
      if (error.status === 0 || error.status >= 500) retry = setTimeout(() => void run(caused), retryMilliseconds);
    } finally {
      if (controller === mine) {
        controller = null;
        busy = false;
      }
    }
  }

  $effect(() => {
    const next = key();
    untrack(() => {
      if (next === current) return;
      const before = current;
      current = next;
      error = null;
      const known = next === null ? undefined : kept.get(next);
      // Same resource with other parameters keeps its old rows, dimmed, until the answer comes.
      // The key names the resource, so what was kept under it came out of the same check.
      if (known !== undefined) data = known as T;
      else if (before === null || next === null || before.split('?')[0] !== next.split('?')[0]) data = null;
      void run('key');
    });
  });

  $effect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let last = -Infinity;
    const stop = options.on
      ? listen(options.on, (e) => {
          if (options.when && data !== null && e.id !== '' && !options.when(e.id, data)) return;
          timer ??= setTimeout(
            () => {
              timer = undefined;
              last = performance.now();
              void run('event');
            },
            performance.now() - last < busyPauseMilliseconds ? busyPauseMilliseconds : pauseMilliseconds,
          );
        })
      : undefined;
    return () => {
      stop?.();
      clearTimeout(timer);
      clearTimeout(retry);
      controller?.abort();
    };
  });

  return {
    get data() {
      return data;
    },
    get error() {
      return error;
    },
    get loading() {
      return data === null && error === null;
    },
    get updating() {
      return busy && data !== null;
    },
    reload: () => run('hand'),
    set(value: T) {
      data = value;
      if (current !== null) keep(current, value);
    },
  };
}
