// Keyboard: single keys and "g x" pairs, registered by whoever is on the page, listed under "?".

import { onMount } from 'svelte';

export interface Binding {
  /** "j", "Enter", "?" or a pair such as "g i". */
  keys: string;
  label: string;
  run: (e: KeyboardEvent) => void;
  /** Works in a text field too. */
  always?: boolean;
  /** Another key for the same thing, not listed under "?". */
  alias?: boolean;
}

export interface Group {
  title: string;
  bindings: Binding[];
}

const store = 'otus.keys';
const pairMilliseconds = 1200;

class Keys {
  groups = $state.raw<Group[]>([]);
  /** Single keys can be turned off altogether, for those whose voice control types letters. */
  enabled = $state(read());
  #pending = '';
  #pendingSince = 0;

  setEnabled(on: boolean): void {
    this.enabled = on;
    try {
      localStorage.setItem(store, on ? 'on' : 'off');
    } catch {
      // storage may be forbidden; the choice then lasts as long as the page
    }
  }

  add(group: Group): () => void {
    this.groups = [...this.groups, group];
    return () => {
      this.groups = this.groups.filter((g) => g !== group);
    };
  }

  handle(e: KeyboardEvent): void {
    if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || e.isComposing) return;
    if (document.querySelector('dialog[open]') && e.key !== '?') return;
    const typing = isTyping(e);
    const pair = this.#pending !== '' && e.timeStamp - this.#pendingSince < pairMilliseconds ? `${this.#pending} ${e.key}` : '';
    this.#pending = '';
    // The newest group wins: a page's keys stand over the frame's.
    const all = this.groups.toReversed().flatMap((g) => g.bindings);
    const usable = all.filter((b) => (b.always || !typing) && (this.enabled || b.always || b.keys === '?'));
    const hit = (pair !== '' && usable.find((b) => b.keys === pair)) || (pair === '' && usable.find((b) => b.keys === e.key)) || null;
    if (hit) {
      if ((e.key === 'Enter' || e.key === ' ') && isControl(e)) return;
      e.preventDefault();
      hit.run(e);
    } else if (usable.some((b) => b.keys.startsWith(`${e.key} `))) {
      this.#pending = e.key;
      this.#pendingSince = e.timeStamp;
    }
  }
}

function read(): boolean {
  try {
    return localStorage.getItem(store) !== 'off';
  } catch {
    return true;
  }
}

function target(e: KeyboardEvent): Element | null {
  const first = e.composedPath()[0];
  return first instanceof Element ? first : null;
}

function isTyping(e: KeyboardEvent): boolean {
  const el = target(e);
  if (!el) return false;
  if (el instanceof HTMLInputElement) return !['checkbox', 'radio', 'button', 'submit'].includes(el.type);
  return el instanceof HTMLTextAreaElement || el instanceof HTMLSelectElement || (el instanceof HTMLElement && el.isContentEditable);
}

/** Enter and Space belong to the control that has the focus; one in a dialog that has just closed has no say. */
function isControl(e: KeyboardEvent): boolean {
  const el = target(e);
  if (!el?.isConnected || el.closest('dialog:not([open])')) return false;
  return el.closest('button, a, input, select, summary, [role="menuitem"], [role="option"]') !== null;
}

export const keys = new Keys();

/** Registers keys for as long as the calling component stands. */
export function useKeys(title: string, bindings: Binding[]): void {
  onMount(() => keys.add({ title, bindings }));
}
