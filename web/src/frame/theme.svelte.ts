// The chosen theme and density. public/theme.js applies them before the first paint; this changes them.

export const themes = ['dark', 'light', 'contrast'] as const;
export type Theme = (typeof themes)[number];

const root = document.documentElement;

class Look {
  /** null: the system decides. */
  theme = $state<Theme | null>(themes.find((t) => t === root.dataset['theme']) ?? null);
  density = $state(root.dataset['density'] ?? 'regular');

  setTheme(theme: Theme): void {
    const next = this.theme === theme ? null : theme;
    this.theme = next;
    if (next) root.dataset['theme'] = next;
    else delete root.dataset['theme'];
    write('otus.theme', next);
  }

  setDensity(density: string): void {
    this.density = density;
    if (density === 'regular') delete root.dataset['density'];
    else root.dataset['density'] = density;
    write('otus.density', density === 'regular' ? null : density);
  }
}

function write(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // storage may be forbidden; the choice then lasts as long as the page
  }
}

export const look = new Look();
