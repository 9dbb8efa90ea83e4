// Several queries in one editor: a blank line separates them.

export interface Block {
  text: string;
  /** Offset of the text in the whole. */
  start: number;
  end: number;
}

/** All queries, in order. A line of white space only is blank. */
export function blocks(whole: string): Block[] {
  const out: Block[] = [];
  let start = -1;
  let end = 0;
  let at = 0;
  for (const line of whole.split('\n')) {
    if (line.trim() === '') {
      if (start >= 0) out.push({ text: whole.slice(start, end), start, end });
      start = -1;
    } else {
      if (start < 0) start = at;
      end = at + line.length;
    }
    at += line.length + 1;
  }
  if (start >= 0) out.push({ text: whole.slice(start, end), start, end });
  return out;
}

/** The query at the cursor: the one it stands in, or else the nearest above, or else the first below. */
export function blockAt(whole: string, position: number): Block | null {
  const all = blocks(whole);
  return all.find((b) => position >= b.start && position <= b.end) ?? all.findLast((b) => b.end < position) ?? all[0] ?? null;
}

/** Turns an offset in UTF-8 bytes, as the server counts, into one in UTF-16 units, as the editor does. */
export function utf16Offset(text: string, byteOffset: number): number {
  let bytes = 0;
  let units = 0;
  for (const c of text) {
    if (bytes >= byteOffset) break;
    const code = c.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    units += c.length;
  }
  return units;
}
