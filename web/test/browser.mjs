// Opens Chromium for the browser tests, against the mock server or, with OTUS_URL and OTUS_SIGNIN (the sign-in
// link that the program prints), against a real one.

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { start } from './mock-server.mjs';

const candidates = [process.env.OTUS_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-headless-shell', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
export const executable = candidates.find((path) => path && existsSync(path)) ?? '';
export const required = (process.env.OTUS_REQUIRE ?? '').split(',').includes('browser');
export const real = process.env.OTUS_URL ? process.env.OTUS_URL.replace(/\/$/, '') : '';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const flags = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-default-apps', '--ignore-certificate-errors'];

/** A browser, a server and a session that all tests share. */
export async function setUp() {
  const server = real ? null : await start();
  const origin = real || server.origin;
  const browser = await chromium.launch({ executablePath: executable, args: flags });
  const first = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await first.newPage();
  await page.goto(real ? process.env.OTUS_SIGNIN : server.signin);
  const session = await first.storageState();
  await first.close();
  return {
    server, origin, browser, session,
    async close() {
      await browser.close();
      await server?.close();
    },
  };
}

/**
 * A page that remembers every fault: console errors, exceptions, requests to other origins. `faults(...)` gives those
 * that none of the expressions allows.
 */
export async function visit(world, path, { theme = 'dark', signedIn = true, origin = world.origin, session = world.session, width = 1440, height = 900 } = {}) {
  const context = await world.browser.newContext({ viewport: { width, height }, ignoreHTTPSErrors: true, reducedMotion: 'reduce', ...(signedIn ? { storageState: session } : {}) });
  await context.addInitScript((t) => localStorage.setItem('otus.theme', t), theme);
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const seen = [];
  page.on('console', (m) => { if (m.type() === 'error' || m.type() === 'warning') seen.push(`console ${m.type()}: ${m.text()}`); });
  page.on('pageerror', (e) => seen.push(`exception: ${e.message}`));
  page.on('request', (r) => { if (!r.url().startsWith(origin) && !/^(data|blob|about):/.test(r.url())) seen.push(`request to another place: ${r.url()}`); });
  await page.goto(origin + path);
  return {
    page,
    faults: (...allowed) => seen.filter((f) => !allowed.some((a) => a.test(f))),
    close: () => context.close(),
  };
}

/** Serious and critical findings of axe, one line each. */
export async function audit(page) {
  await page.evaluate(axe);
  const result = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return violations.filter((v) => v.impact === 'serious' || v.impact === 'critical').map((v) => `${v.id} (${v.impact}): ${v.nodes.slice(0, 4).map((n) => `${n.target.join(' ')} [${n.any[0]?.message ?? n.all[0]?.message ?? n.none[0]?.message ?? ''}]`).join('; ')}`);
  });
  return result;
}

/** Waits until the page has its heading and nothing is loading any more. */
export async function settled(page) {
  await page.locator('main h1').first().waitFor();
  await page.waitForFunction(() => document.querySelectorAll('main [aria-busy="true"]').length === 0);
}
