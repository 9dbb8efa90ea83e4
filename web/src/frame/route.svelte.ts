// The address is the page's state: path and search parameters, readable as one reactive value.

class Route {
  path = $state(location.pathname);
  query = $state.raw(new URLSearchParams(location.search));

  /** Path segments without empty ones: "/incidents/17" is ["incidents", "17"]. */
  get segments(): string[] {
    return this.path.split('/').filter((s) => s !== '').map(decode);
  }

  /** The first value of a search parameter; "" when it is not there. */
  get(name: string): string {
    return this.query.get(name) ?? '';
  }

  sync(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

export const route = new Route();

addEventListener('popstate', () => route.sync());

/** Goes to an address of the UI. replace leaves no step in the history. */
export function go(to: string, replace = false): void {
  const url = new URL(to, location.href);
  const moved = url.pathname !== location.pathname;
  if (replace) history.replaceState(null, '', url);
  else if (url.href !== location.href) history.pushState(null, '', url);
  route.sync();
  if (moved) {
    document.querySelector('main')?.scrollTo(0, 0);
    // Readers of the screen hear the new page; keyboard users start at its top.
    requestAnimationFrame(() => document.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true }));
  }
}

/** Changes search parameters in place; null or "" takes one out. */
export function setQuery(values: Record<string, string | number | null>, replace = false): void {
  go(withQuery(values), replace);
}

/** The address that setQuery would go to. */
export function withQuery(values: Record<string, string | number | null>): string {
  const query = new URLSearchParams(route.query);
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === '') query.delete(name);
    else query.set(name, String(value));
  }
  const s = query.toString();
  return route.path + (s === '' ? '' : `?${s}`);
}

/** One click listener for every link of the UI: plain left clicks on same-origin links do not reload. */
export function takeLinks(root: HTMLElement): () => void {
  const onclick = (e: MouseEvent): void => {
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    const link = e.composedPath().find((n): n is HTMLAnchorElement => n instanceof HTMLAnchorElement);
    if (!link || link.target !== '' || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (link.pathname.startsWith('/otus/') || link.hash !== '') return;
    e.preventDefault();
    go(link.href);
  };
  root.addEventListener('click', onclick);
  return () => root.removeEventListener('click', onclick);
}
