import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, it } from 'vitest';

// Imports point up this list: a folder may use itself and what stands before it. A page uses no other page.
const order = ['api', 'format', 'frame', 'components', 'kql', 'pages', 'shell'];

const root = import.meta.dirname;

function files(): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((f) => /\.(ts|svelte)$/.test(f));
}

it('keeps the direction of imports', () => {
  const wrong: string[] = [];
  for (const file of files()) {
    const [folder = '', page = ''] = file.split('/');
    if (!file.includes('/')) continue;
    for (const [, target = ''] of readFileSync(join(root, file), 'utf8').matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)) {
      const [to = '', toPage = ''] = relative(root, resolve(root, dirname(file), target)).split('/');
      if (to.startsWith('..')) continue;
      if (order.indexOf(to) > order.indexOf(folder)) wrong.push(`${file} -> ${to}`);
      if (folder === 'pages' && to === 'pages' && page !== toPage) wrong.push(`${file} -> ${to}/${toPage}`);
    }
  }
  expect(wrong).toEqual([]);
});

it('has a view for every page of pages.json', () => {
  const pages: { id: string }[] = JSON.parse(readFileSync(join(root, '../pages.json'), 'utf8'));
  const views = readFileSync(join(root, 'shell/pages.ts'), 'utf8');
  for (const { id } of pages) expect(views, id).toContain(`  ${id}: {`);
});
