// Queries that were run in this browser, newest first.

import { id, list, shape, text, type Infer } from '../../api/check';

const Entry = shape({ query: id, range: text, time: text });
export type Entry = Infer<typeof Entry>;

const store = 'otus.queries';
const most = 40;

function read(): Entry[] {
  try {
    return list(Entry)(JSON.parse(localStorage.getItem(store) ?? '[]'), store);
  } catch {
    return [];
  }
}

class History {
  entries = $state.raw<Entry[]>(read());

  add(query: string, range: string): void {
    const rest = this.entries.filter((e) => e.query !== query);
    this.entries = [{ query, range, time: new Date().toISOString() }, ...rest].slice(0, most);
    this.#write();
  }

  clear(): void {
    this.entries = [];
    this.#write();
  }

  #write(): void {
    try {
      localStorage.setItem(store, JSON.stringify(this.entries));
    } catch {
      // storage may be full or forbidden; the list then lasts as long as the page
    }
  }
}

export const queries = new History();
