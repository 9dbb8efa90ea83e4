// Short messages at the foot of the page, with a way back where there is one.

export interface Toast {
  id: number;
  text: string;
  bad: boolean;
  undo: (() => void) | null;
}

const showMilliseconds = 8000;
let last = 0;

class Toasts {
  items = $state.raw<Toast[]>([]);

  say(text: string, undo: (() => void) | null = null): void {
    this.#add({ id: ++last, text, bad: false, undo });
  }

  complain(text: string): void {
    this.#add({ id: ++last, text, bad: true, undo: null });
  }

  drop(id: number): void {
    this.items = this.items.filter((t) => t.id !== id);
  }

  #add(toast: Toast): void {
    this.items = [...this.items.slice(-2), toast];
    setTimeout(() => this.drop(toast.id), showMilliseconds);
  }
}

export const toasts = new Toasts();

/** Runs a change; what goes wrong is said, and false comes back. */
export async function attempt(change: () => Promise<unknown>, done = ''): Promise<boolean> {
  try {
    await change();
    if (done !== '') toasts.say(done);
    return true;
  } catch (err) {
    toasts.complain(err instanceof Error ? err.message : String(err));
    return false;
  }
}
