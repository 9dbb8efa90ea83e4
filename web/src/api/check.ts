// Validators for what comes over the network. A declaration is both the check and the TypeScript type.
// Wrong types are refused with the path to the value; absent values of the plain kinds become their zero
// value, because the server leaves out what it does not know.

export type Check<T> = (value: unknown, path: string) => T;
export type Infer<C> = C extends Check<infer T> ? T : never;

/** The answer does not have the agreed shape. */
export class ShapeError extends Error {
  constructor(path: string, want: string, got: unknown) {
    super(`unexpected answer: ${path || 'body'}: want ${want}, got ${got === null ? 'null' : Array.isArray(got) ? 'array' : typeof got}`);
    this.name = 'ShapeError';
  }
}

const absent = (v: unknown): v is null | undefined => v === null || v === undefined;

/** Required, not empty string: ids and names. */
export const id: Check<string> = (v, path) => {
  if (typeof v === 'string' && v !== '') return v;
  throw new ShapeError(path, 'string that is not empty', v);
};

export const text: Check<string> = (v, path) => {
  if (absent(v)) return '';
  if (typeof v === 'string') return v;
  throw new ShapeError(path, 'string', v);
};

export const count: Check<number> = (v, path) => {
  if (absent(v)) return 0;
  if (typeof v === 'number' && Number.isFinite(v)) return v;
  throw new ShapeError(path, 'number', v);
};

export const flag: Check<boolean> = (v, path) => {
  if (absent(v)) return false;
  if (typeof v === 'boolean') return v;
  throw new ShapeError(path, 'boolean', v);
};

export const anything: Check<unknown> = (v) => v;

/** One of a few words; another word, or none, becomes the fallback. */
export function word<const T extends string>(words: readonly T[], fallback: T): Check<T> {
  return (v, path) => {
    if (absent(v)) return fallback;
    if (typeof v !== 'string') throw new ShapeError(path, words.join(' or '), v);
    return words.find((w) => w === v) ?? fallback;
  };
}

export function maybe<T>(check: Check<T>): Check<T | null> {
  return (v, path) => (absent(v) ? null : check(v, path));
}

export function list<T>(check: Check<T>): Check<T[]> {
  return (v, path) => {
    if (absent(v)) return [];
    if (!Array.isArray(v)) throw new ShapeError(path, 'array', v);
    return v.map((item, i) => check(item, `${path}[${i}]`));
  };
}

export function dict<T>(check: Check<T>): Check<Record<string, T>> {
  return (v, path) => {
    if (absent(v)) return {};
    if (!isRecord(v)) throw new ShapeError(path, 'object', v);
    const out: Record<string, T> = {};
    for (const [key, item] of Object.entries(v)) out[key] = check(item, `${path}.${key}`);
    return out;
  };
}

export function shape<F extends Record<string, Check<unknown>>>(fields: F): Check<{ [K in keyof F]: Infer<F[K]> }> {
  const entries = Object.entries(fields);
  return (v, path) => {
    if (!isRecord(v)) throw new ShapeError(path, 'object', v);
    const out: Record<string, unknown> = {};
    for (const [key, check] of entries) out[key] = check(v[key], path ? `${path}.${key}` : key);
    return out as { [K in keyof F]: Infer<F[K]> };
  };
}

/** Like shape, but an absent object is read as one with every field absent. */
export function part<F extends Record<string, Check<unknown>>>(fields: F): Check<{ [K in keyof F]: Infer<F[K]> }> {
  const check = shape(fields);
  return (v, path) => check(absent(v) ? {} : v, path);
}

export function isRecord(v: unknown): v is Record<string, unknown> {
  return typeof v === 'object' && v !== null && !Array.isArray(v);
}
