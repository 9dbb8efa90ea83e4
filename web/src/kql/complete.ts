// What may stand at the cursor, out of the server's schema and the query's own names.

import type { Schema } from '../api/client';
import { tokenize, wordsOf, type Token } from './tokens';

export interface Completion {
  label: string;
  kind: 'table' | 'column' | 'function' | 'operator' | 'keyword';
  detail: string;
  info: string;
  /** Text to insert where it differs from the label. */
  apply?: string;
}

const afterValue = ['and', 'or', 'in', 'has', 'contains', 'startswith', 'endswith', 'between', 'has_any', 'matches regex', 'by', 'asc', 'desc', 'on'];

/** Completions for the query text up to the cursor; text after it only tells the tables in use. */
export function completions(before: string, after: string, schema: Schema): Completion[] {
  const words = wordsOf(schema);
  const tokens = tokenize(before, words);
  const last = tokens.at(-1);
  if (last && (last.kind === 'comment' || last.kind === 'string') && last.end === before.length && !closed(before, last)) return [];

  // The word being typed is not context.
  const typing = last && last.end === before.length && /[\w$-]$/.test(before) ? last : null;
  const context = typing ? tokens.slice(0, -1) : tokens;
  const previous = context.at(-1);
  const text = (t: Token): string => before.slice(t.start, t.end);

  if (!previous || text(previous) === ';') return [...tables(schema), keyword('let')];
  if (previous.kind === 'pipe') return schema.operators.map((o): Completion => ({ label: o.name, kind: 'operator', detail: 'operator', info: o.description }));
  const opening = text(previous);
  const operator = operatorBefore(context, before);
  const out: Completion[] = [];
  if (opening === '(' || /^(join|union|lookup|from|let|=|,)$/.test(opening)) {
    if (operator === '' || operator === 'join' || operator === 'union' || operator === 'lookup' || opening === '=') out.push(...tables(schema));
  }
  out.push(...columns(before + after, schema), ...functions(schema, operator === 'summarize'));
  if (previous.kind === 'name' || opening === ')' || previous.kind === 'string' || previous.kind === 'number') out.unshift(...afterValue.map(keyword));
  if (operator === 'render') return ['timechart', 'columnchart', 'barchart', 'table'].map(keyword);
  return out;
}

function closed(before: string, token: Token): boolean {
  if (token.kind === 'comment') return false;
  const s = before.slice(token.start, token.end);
  const quote = s.replace(/^[hH]?@?/, '').charAt(0);
  return s.length > 1 && s.endsWith(quote) && !s.endsWith(`\\${quote}`);
}

const keyword = (label: string): Completion => ({ label, kind: 'keyword', detail: '', info: '' });

function tables(schema: Schema): Completion[] {
  return schema.tables.map((t) => ({ label: t.name, kind: 'table', detail: t.solutions.join(', '), info: t.description }));
}

function functions(schema: Schema, aggregates: boolean): Completion[] {
  return schema.functions
    .filter((f) => f.kind !== 'aggregate' || aggregates)
    .map((f) => ({ label: f.name, kind: 'function', detail: f.signature, info: f.description, apply: `${f.name}(` }));
}

/** The tabular operator that the cursor is within; "" before the first pipe. */
function operatorBefore(tokens: readonly Token[], text: string): string {
  for (let i = tokens.length - 1; i > 0; i--) {
    const t = tokens[i];
    if (t && tokens[i - 1]?.kind === 'pipe') return text.slice(t.start, t.end);
  }
  return '';
}

/** Columns of the tables that the query names, and names that the query itself makes. */
function columns(query: string, schema: Schema): Completion[] {
  const seen = new Set<string>();
  const out: Completion[] = [];
  for (const m of query.matchAll(/(?:^|[,\s(])([A-Za-z_]\w*)\s*=(?![=~])/g)) {
    const name = m[1] ?? '';
    if (name === 'kind' || seen.has(name)) continue;
    seen.add(name);
    out.push({ label: name, kind: 'column', detail: 'made here', info: '' });
  }
  for (const t of schema.tables) {
    if (!new RegExp(`\\b${t.name}\\b`).test(query)) continue;
    for (const c of t.columns) {
      if (seen.has(c.name)) continue;
      seen.add(c.name);
      out.push({ label: c.name, kind: 'column', detail: c.type, info: c.description });
    }
  }
  return out;
}
