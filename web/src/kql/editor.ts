// The editor itself: CodeMirror, kept lean, in a shadow root so that its styles need no exception in the
// content security policy. Loaded by the Logs page only.

import { acceptCompletion, autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, type CompletionContext, type CompletionResult } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { lintGutter, lintKeymap, setDiagnostics, type Diagnostic as Mark } from '@codemirror/lint';
import { EditorState, Prec, RangeSetBuilder } from '@codemirror/state';
import { Decoration, drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers, placeholder, ViewPlugin, type DecorationSet, type ViewUpdate } from '@codemirror/view';
import type { Diagnostic, Schema } from '../api/client';
import { blockAt, blocks, utf16Offset, type Block } from './block';
import { completions } from './complete';
import { theme } from './editor-theme';
import { tokenize, wordsOf, type Words } from './tokens';

export interface EditorOptions {
  text: string;
  schema: () => Schema | null;
  onChange: (text: string) => void;
  onRun: (block: Block) => void;
  /** Asks the server what is wrong with a query. */
  check: (query: string, signal: AbortSignal) => Promise<Diagnostic[]>;
}

export interface Editor {
  /** The query at the cursor, or what is selected. */
  current(): Block | null;
  setText(text: string): void;
  insert(text: string): void;
  /** Marks faults of one query. */
  mark(block: Block, faults: readonly Diagnostic[]): void;
  /** Puts the cursor at a fault. */
  reveal(block: Block, fault: Diagnostic): void;
  /** The schema came, or changed. */
  refresh(): void;
  focus(): void;
  destroy(): void;
}

const pauseMilliseconds = 450;
const mostChecked = 8;

export function createEditor(host: HTMLElement, options: EditorOptions): Editor {
  let words: Words = wordsOf(options.schema());
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' });
  const faults = new Map<string, readonly Diagnostic[]>(); // by the query's text
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asking: AbortController | null = null;

  const run = (): boolean => {
    const block = current();
    if (block) options.onRun(block);
    return true;
  };

  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: options.text,
      extensions: [
        Prec.highest(keymap.of([{ key: 'Ctrl-Enter', mac: 'Cmd-Enter', run }, { key: 'Shift-Enter', run }, { key: 'Tab', run: acceptCompletion }])),
        lineNumbers(),
        history(),
        drawSelection(),
        highlightActiveLine(),
        highlightActiveLineGutter(),
        closeBrackets(),
        autocompletion({ override: [complete], icons: false, maxRenderedOptions: 80 }),
        lintGutter(),
        keymap.of([...closeBracketsKeymap, ...completionKeymap, ...historyKeymap, ...lintKeymap, ...defaultKeymap]),
        colours(() => words),
        placeholder('SecurityAlert | take 100'),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ 'aria-label': 'Query', spellcheck: 'false', autocapitalize: 'off' }),
        EditorView.updateListener.of((u) => {
          if (!u.docChanged) return;
          options.onChange(u.state.doc.toString());
          clearTimeout(timer);
          timer = setTimeout(() => void checkAll(), pauseMilliseconds);
        }),
        theme,
      ],
    }),
  });

  function complete(context: CompletionContext): CompletionResult | null {
    const schema = options.schema();
    if (!schema) return null;
    const whole = context.state.doc.toString();
    const typed = context.matchBefore(/[\w$]+(?:-[\w]*)?/);
    if (!typed && !context.explicit && !/[|(]\s*$/.test(whole.slice(Math.max(0, context.pos - 3), context.pos))) return null;
    const block = blocks(whole).find((b) => context.pos >= b.start && context.pos <= b.end) ?? { start: context.pos, end: context.pos };
    const found = completions(whole.slice(block.start, context.pos), whole.slice(context.pos, block.end), schema);
    if (found.length === 0) return null;
    const rank = { table: 4, column: 3, operator: 2, keyword: 1, function: 0 } as const;
    return {
      from: typed?.from ?? context.pos,
      options: found.map((c) => ({ label: c.label, detail: c.detail, ...(c.info ? { info: c.info } : {}), ...(c.apply ? { apply: c.apply } : {}), type: c.kind, boost: rank[c.kind] })),
      validFor: /^[\w$-]*$/,
    };
  }

  function current(): Block | null {
    const whole = view.state.doc.toString();
    const { from, to } = view.state.selection.main;
    const selected = whole.slice(from, to);
    if (selected.trim() !== '') return { text: selected, start: from, end: to };
    return blockAt(whole, from);
  }

  /** Asks about the queries that were not asked about yet, then draws all marks. */
  async function checkAll(): Promise<void> {
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    for (const block of blocks(view.state.doc.toString()).slice(0, mostChecked)) {
      if (faults.has(block.text)) continue;
      try {
        const found = await options.check(block.text, mine.signal);
        if (mine.signal.aborted) return;
        if (faults.size > 100) faults.clear();
        faults.set(block.text, found);
      } catch {
        return; // typing goes on without marks; running the query will say what is wrong
      }
    }
    draw();
  }

  function draw(): void {
    const marks: Mark[] = [];
    for (const block of blocks(view.state.doc.toString())) {
      for (const fault of faults.get(block.text) ?? []) marks.push(markOf(block, fault));
    }
    view.dispatch(setDiagnostics(view.state, marks));
  }

  function markOf(block: Block, fault: Diagnostic): Mark {
    const { from, to } = span(block, fault);
    const severity = fault.severity.toLowerCase() === 'warning' ? 'warning' : fault.severity.toLowerCase().startsWith('info') ? 'info' : 'error';
    return { from, to, severity, message: fault.hint ? `${fault.message}\n${fault.hint}` : fault.message };
  }

  function span(block: Block, fault: Diagnostic): { from: number; to: number } {
    const length = view.state.doc.length;
    let from = block.start + utf16Offset(block.text, fault.start);
    let to = block.start + utf16Offset(block.text, fault.end);
    if (fault.end <= fault.start && fault.line > 0) {
      const line = block.text.split('\n').slice(0, fault.line - 1).reduce((n, l) => n + l.length + 1, 0);
      from = block.start + line + Math.max(0, fault.column - 1);
      to = from + 1;
    }
    from = Math.max(0, Math.min(from, Math.max(0, length - 1)));
    return { from, to: Math.max(from, Math.min(Math.max(to, from + 1), length)) };
  }

  if (options.text.trim() !== '') timer = setTimeout(() => void checkAll(), pauseMilliseconds);

  return {
    current,
    setText(text) {
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text }, selection: { anchor: text.length } });
    },
    insert(text) {
      view.dispatch(view.state.replaceSelection(text));
      view.focus();
    },
    mark(block, found) {
      faults.set(block.text, found);
      draw();
    },
    reveal(block, fault) {
      const { from, to } = span(block, fault);
      view.dispatch({ selection: { anchor: from, head: to }, scrollIntoView: true });
      view.focus();
    },
    refresh() {
      words = wordsOf(options.schema());
      view.dispatch({});
    },
    focus: () => view.focus(),
    destroy() {
      clearTimeout(timer);
      asking?.abort();
      view.destroy();
    },
  };
}

const classes = new Map((['comment', 'string', 'number', 'keyword', 'function', 'table', 'pipe'] as const).map((kind) => [kind as string, Decoration.mark({ class: `k-${kind}` })]));

/** Colours the whole text; a query is small enough to read it anew at each change. */
function colours(words: () => Words) {
  return ViewPlugin.fromClass(
    class {
      decorations: DecorationSet;
      known = words();
      constructor(view: EditorView) {
        this.decorations = build(view.state.doc.toString(), this.known);
      }
      update(u: ViewUpdate): void {
        const now = words();
        if (!u.docChanged && now === this.known) return;
        this.known = now;
        this.decorations = build(u.state.doc.toString(), now);
      }
    },
    { decorations: (p) => p.decorations },
  );
}

function build(text: string, words: Words): DecorationSet {
  const builder = new RangeSetBuilder<Decoration>();
  for (const t of tokenize(text, words)) {
    const mark = classes.get(t.kind);
    if (mark) builder.add(t.start, t.end, mark);
  }
  return builder.finish();
}
