// A small tokenizer for colouring and completion. It knows the language's shape only; tables, functions
// and operators are words from the server's schema. It never refuses: what it does not know is plain text.

import type { Schema } from '../api/client';

export type TokenKind = 'comment' | 'string' | 'number' | 'keyword' | 'function' | 'table' | 'name' | 'pipe' | 'punctuation';

export interface Token {
  kind: TokenKind;
  start: number;
  end: number;
}

/** Words of the grammar that are neither tables nor functions nor operators of their own. */
const glue = [
  'let', 'by', 'on', 'and', 'or', 'not', 'asc', 'desc', 'nulls', 'first', 'last', 'kind', 'with', 'of', 'to', 'step', 'from', 'typeof',
  'true', 'false', 'null', 'in', 'has', 'contains', 'startswith', 'endswith', 'between', 'matches', 'regex', 'has_any', 'has_all',
  'has_cs', 'contains_cs', 'startswith_cs', 'endswith_cs', 'hasprefix', 'hassuffix', 'hint', 'default',
  'inner', 'innerunique', 'leftouter', 'rightouter', 'fullouter', 'leftanti', 'rightanti', 'leftsemi', 'rightsemi', 'anti',
  'timechart', 'barchart', 'columnchart', 'areachart', 'linechart', 'piechart', 'table', 'card', 'bool', 'int', 'long', 'real', 'decimal', 'string', 'guid', 'dynamic', 'datetime', 'timespan',
];

export interface Words {
  tables: ReadonlySet<string>;
  functions: ReadonlySet<string>;
  operators: ReadonlySet<string>;
  keywords: ReadonlySet<string>;
}

export function wordsOf(schema: Schema | null): Words {
  const operators = new Set((schema?.operators ?? []).map((o) => o.name));
  return {
    tables: new Set((schema?.tables ?? []).map((t) => t.name)),
    functions: new Set((schema?.functions ?? []).map((f) => f.name)),
    operators,
    keywords: new Set([...glue, ...operators]),
  };
}

const identifierStart = /[A-Za-z_$]/;
const spaced = /\s/;
const number = /(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?:d|h|m|s|ms|microsecond|tick|days?|hours?|minutes?|seconds?)?(?![\w.])|\d+(?:\.\d+)?/y;
const identifier = /[A-Za-z_$][\w$]*(?:-[A-Za-z]+)*/y;
const plainIdentifier = /[A-Za-z_$][\w$]*/y;

export function tokenize(text: string, words: Words): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const c = text.charAt(at);
    if (spaced.test(c)) {
      at++;
      continue;
    }
    const token = next(text, at, c, words);
    tokens.push(token);
    at = token.end;
  }
  return tokens;
}

function next(text: string, at: number, c: string, words: Words): Token {
  if (text.startsWith('//', at)) return { kind: 'comment', start: at, end: lineEnd(text, at) };
  const string = stringEnd(text, at);
  if (string > at) return { kind: 'string', start: at, end: string };
  if (c >= '0' && c <= '9') {
    number.lastIndex = at;
    const m = number.exec(text);
    return { kind: 'number', start: at, end: at + (m?.[0].length ?? 1) };
  }
  if (identifierStart.test(c)) return word(text, at, words);
  return { kind: c === '|' ? 'pipe' : 'punctuation', start: at, end: at + 1 };
}

function word(text: string, at: number, words: Words): Token {
  // Names with hyphens are operators (mv-expand) or nothing: "a-b" is a subtraction.
  identifier.lastIndex = at;
  let name = identifier.exec(text)?.[0] ?? text.charAt(at);
  if (name.includes('-') && !words.operators.has(name)) {
    plainIdentifier.lastIndex = at;
    name = plainIdentifier.exec(text)?.[0] ?? name;
  }
  const end = at + name.length;
  const called = /^\s*\(/.test(text.slice(end, end + 20));
  let kind: TokenKind = 'name';
  if (words.tables.has(name)) kind = 'table';
  else if (called && words.functions.has(name)) kind = 'function';
  else if (words.keywords.has(name)) kind = 'keyword';
  return { kind, start: at, end };
}

/** The end of a string literal that begins at this place; the place itself where none does. */
function stringEnd(text: string, at: number): number {
  let i = at;
  if (/[hH]/.test(text.charAt(i)) && /["'@]/.test(text.charAt(i + 1))) i++;
  if (text.startsWith('```', i)) {
    const close = text.indexOf('```', i + 3);
    return close < 0 ? text.length : close + 3;
  }
  const verbatim = text.charAt(i) === '@' && /["']/.test(text.charAt(i + 1));
  if (verbatim) i++;
  const quote = text.charAt(i);
  if (quote !== '"' && quote !== "'") return at;
  for (i++; i < text.length; i++) {
    const c = text.charAt(i);
    if (c === '\n') return i; // not closed on its line
    if (c === '\\' && !verbatim) i++;
    else if (c === quote) {
      if (verbatim && text.charAt(i + 1) === quote) i++;
      else return i + 1;
    }
  }
  return Math.min(i, text.length);
}

function lineEnd(text: string, at: number): number {
  const end = text.indexOf('\n', at);
  return end < 0 ? text.length : end;
}
