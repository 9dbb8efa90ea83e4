// Fails when the first load grows past its budget: index.html, every script and style it names, and the
// overview page with what that imports. Sizes are gzip -9, as the server would send them to the oldest client.
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const budget = 110 * 1024;
const dist = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist');
const seen = new Set();

function add(name) {
  if (seen.has(name)) return;
  seen.add(name);
  if (!name.endsWith('.js')) return;
  const text = readFileSync(join(dist, name), 'utf8');
  for (const [, path] of text.matchAll(/(?:from|import)\s*["']\.\/([\w.-]+\.js)["']/g)) add(`assets/${path}`);
}

const html = readFileSync(join(dist, 'index.html'), 'utf8');
seen.add('index.html');
for (const [, path] of html.matchAll(/(?:src|href)="\/([^"]+\.(?:js|css))"/g)) add(path);
for (const name of readdirSync(join(dist, 'assets'))) if (name.startsWith('Overview-')) add(`assets/${name}`);

let sum = 0;
for (const name of seen) sum += gzipSync(readFileSync(join(dist, name)), { level: 9 }).length;
let all = 0;
for (const name of readdirSync(join(dist, 'assets'))) if (/\.(js|css)$/.test(name)) all += gzipSync(readFileSync(join(dist, 'assets', name)), { level: 9 }).length;
console.log(`first load ${(sum / 1024).toFixed(1)} KB gzip in ${seen.size} files (budget ${budget / 1024} KB), all ${(all / 1024).toFixed(1)} KB`);
if (sum > budget) {
  console.error('first load is over its budget');
  process.exit(1);
}
