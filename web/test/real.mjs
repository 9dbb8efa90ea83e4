// Runs the browser tests against a real program: starts the demo, waits for its first incidents, tests, stops it.
// Usage: node test/real.mjs PROGRAM
import { spawn } from 'node:child_process';
import { executable, required } from './browser.mjs';

const [program] = process.argv.slice(2);
if (!program) {
  console.error('usage: node test/real.mjs PROGRAM');
  process.exit(2);
}
if (executable === '' && !required) {
  console.log('browser tests against the demo skipped: Chromium is not installed');
  process.exit(0);
}
const demo = spawn(program, ['demo', '--listen', '127.0.0.1:0', '--tls-listen', ''], { stdio: ['ignore', 'inherit', 'pipe'] });
const stop = () => demo.kill('SIGTERM');
process.on('exit', stop);
const limit = setTimeout(() => {
  console.error('the browser tests against the demo take more than ten minutes');
  process.exit(1);
}, 10 * 60 * 1000);

/** The link that the program prints once it listens. */
const link = await new Promise((found, failed) => {
  let text = '';
  demo.stderr.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
    const match = /sign in\s+(\S+)\s/.exec(text);
    if (match) found(match[1]);
  });
  demo.on('exit', (code) => failed(new Error(`the demo ended with ${code}\n${text}`)));
});

// The attack's first half must have opened incidents of every severity for the pages to show.
await new Promise((go) => setTimeout(go, 60_000));
const tests = spawn(process.execPath, ['--test', 'test/browser.spec.mjs'], {
  stdio: 'inherit',
  env: { ...process.env, OTUS_URL: new URL(link).origin, OTUS_SIGNIN: link },
});
tests.on('exit', (code) => {
  clearTimeout(limit);
  demo.removeAllListeners('exit');
  demo.on('exit', () => process.exit(code ?? 1));
  stop();
});
