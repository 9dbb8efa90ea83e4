// One place where the browser speaks to the server: headers, errors and the check at the border.

import { isRecord, list, type Check } from './check';
import { Diagnostic } from './types';

const prefix = '/otus/v1';

/** What the server, or the way to it, said no to. status 0 means that no answer came. */
export class Problem extends Error {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly errors: Diagnostic[];

  constructor(status: number, title: string, detail: string, errors: Diagnostic[] = []) {
    super(detail || title);
    this.name = 'Problem';
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.errors = errors;
  }
}

let signedOut: () => void = () => undefined;

/** Sets what happens when the server says that there is no session. */
export function onSignedOut(run: () => void): void {
  signedOut = run;
}

export interface Options {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
}

export async function request<T>(path: string, check: Check<T>, options: Options = {}): Promise<T> {
  const answer = await send(path, options);
  if (answer.status === 204 || answer.status === 202) return check(undefined, '');
  const kind = answer.headers.get('content-type') ?? '';
  if (!kind.includes('json')) throw new Problem(answer.status, 'Unexpected answer', `The server sent ${kind || 'no type'} where JSON was expected.`);
  const body: unknown = await answer.json();
  return check(body, '');
}

/** For calls whose answer does not matter beyond "done". */
export async function order(path: string, options: Options): Promise<void> {
  await send(path, options);
}

async function send(path: string, options: Options): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json', ...options.headers };
  const method = options.method ?? 'GET';
  if (method !== 'GET') headers['x-otus-csrf'] = '1';
  const init: RequestInit = { method, headers, credentials: 'same-origin' };
  if (options.body !== undefined) {
    headers['content-type'] = 'application/json';
    init.body = JSON.stringify(options.body);
  }
  if (options.signal) init.signal = options.signal;
  let answer: Response;
  try {
    answer = await fetch(prefix + path, init);
  } catch (err) {
    if (isAbort(err)) throw err;
    throw new Problem(0, 'No answer from the server', 'The program may have stopped, or the network is down. The page tries again by itself.');
  }
  if (answer.ok) return answer;
  if (answer.status === 401) signedOut();
  throw await problem(answer);
}

async function problem(answer: Response): Promise<Problem> {
  const plain = await answer.text();
  let body: unknown;
  try {
    body = JSON.parse(plain);
  } catch {
    body = null;
  }
  if (!isRecord(body)) return new Problem(answer.status, answer.statusText || `Status ${answer.status}`, plain.slice(0, 300).trim());
  const title = typeof body['title'] === 'string' ? body['title'] : `Status ${answer.status}`;
  let detail = typeof body['detail'] === 'string' ? body['detail'] : '';
  let errors: Diagnostic[] = [];
  try {
    errors = list(Diagnostic)(body['errors'], 'errors').filter((e) => e.message !== '');
  } catch {
    errors = []; // another kind of error list; its sentence is in detail
  }
  if (detail === '' && errors[0]) detail = errors[0].message;
  return new Problem(answer.status, title, detail, errors);
}

export function isAbort(err: unknown): boolean {
  return err instanceof DOMException && err.name === 'AbortError';
}

/** Builds "?a=1&b=2" from what is set; empty values are left out. */
export function search(values: Record<string, string | number | boolean | undefined | null>): string {
  const out = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    if (value !== undefined && value !== null && value !== '') out.set(key, String(value));
  }
  const s = out.toString();
  return s === '' ? '' : `?${s}`;
}
