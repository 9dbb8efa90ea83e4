// The UI in a real browser: every page in every theme, then what people do on them.

import assert from 'node:assert/strict';
import { after, before, describe, it as test } from 'node:test';
import { audit, executable, real, required, setUp, settled, visit } from './browser.mjs';
import { start } from './mock-server.mjs';

const skip = executable === '' && !required ? 'Chromium is not installed' : false;
const mockOnly = real ? 'needs the mock server' : skip;
const badRequest = /status of 400/;
const unauthorized = /status of 401/;

/** A test that is skipped, and counted as such, where there is no browser. */
const it = (name, options, run) => test(name, { skip, ...(run ? options : {}) }, run ?? options);

let world;
before(async () => {
  if (skip) return;
  assert.notEqual(executable, '', 'OTUS_REQUIRE asks for the browser tests, and Chromium is not installed');
  world = await setUp();
});
after(() => world?.close());

/** Runs one visit and closes it, whatever happens. */
async function on(path, options, run) {
  const v = await visit(world, path, options);
  try {
    await settled(v.page);
    return await run(v.page, v);
  } finally {
    await v.close();
  }
}

/** Something from the API, asked with the session's cookie. */
async function ask(path) {
  const context = await world.browser.newContext({ storageState: world.session, ignoreHTTPSErrors: true });
  try {
    const answer = await context.request.get(`${world.origin}/otus/v1${path}`);
    assert.equal(answer.status(), 200, `GET ${path}`);
    return await answer.json();
  } finally {
    await context.close();
  }
}

const newestOpen = async () => (await ask('/workspaces/default/incidents?status=New,Active&limit=1')).items[0];

describe('pages', () => {
  const pages = [
    ['overview', '/', 'Overview'], ['queue', '/incidents', 'Incidents'], ['incident', 'incident', ''], ['logs', '/logs', 'Logs'], ['result', '/logs?q=SecurityAlert%0A%7C%20take%2020&t=any&run=1', 'Logs'],
    ['analytics', '/analytics', 'Analytics'], ['connectors', '/connectors', 'Connectors'], ['connector', '/connectors/iot', ''], ['sites', '/sites', 'Sites and sensors'], ['alerts', '/alerts', 'Alerts'], ['devices', '/devices', 'Devices'], ['device', 'device', ''],
  ];
  for (const [name, path, title] of pages) {
    it(`${name}: no fault, nothing leaves, axe is content, in dark, light and contrast`, async () => {
      let address = path;
      if (path === 'incident') address = `/incidents/${(await newestOpen()).number}`;
      if (path === 'device') address = `/devices/${(await ask('/fleet/devices?limit=1')).items[0].id}`;
      for (const theme of ['dark', 'light', 'contrast']) {
        await on(address, { theme }, async (page, v) => {
          if (title) assert.equal((await page.locator('main h1').first().textContent()).trim(), title);
          if (name === 'logs' || name === 'result') await page.getByRole('textbox', { name: 'Query' }).waitFor();
          if (name === 'result') await page.getByRole('grid', { name: 'Result' }).waitFor();
          assert.deepEqual(await audit(page), [], `${address} in ${theme}`);
          assert.deepEqual(v.faults(), [], `${address} in ${theme}`);
        });
      }
    });
  }

  it('no page scrolls sideways on a small screen', async () => {
    for (const path of ['/', '/incidents', '/logs', '/devices', '/alerts', '/connectors/iot']) {
      await on(path, { width: 1366, height: 768 }, async (page) => {
        const wide = await page.evaluate(() => [...document.querySelectorAll('html, main, main > .page')].filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => `${e.tagName}.${e.className} ${e.scrollWidth}>${e.clientWidth}`));
        assert.deepEqual(wide, [], path);
      });
    }
  });
});

describe('sign-in', () => {
  it('says where the sign-in link is when there is no session', async () => {
    const v = await visit(world, '/incidents', { signedIn: false });
    await v.page.getByRole('heading', { name: 'You are signed out' }).waitFor();
    assert.match(await v.page.locator('main').textContent(), /sign-in link/);
    assert.deepEqual(await audit(v.page), []);
    assert.deepEqual(v.faults(unauthorized), []);
    await v.close();
  });
});

describe('incidents', () => {
  it('changes the status on the page of an incident', async () => {
    const incident = await newestOpen();
    const next = incident.status === 'Active' ? 'New' : 'Active';
    await on(`/incidents/${incident.number}`, {}, async (page, v) => {
      await page.getByRole('button', { name: /^Status:/ }).click();
      await page.getByRole('menuitemradio', { name: next }).click();
      await page.getByRole('button', { name: `Status: ${next}` }).waitFor();
      await page.getByText(new RegExp(`${incident.status} → ${next}`)).first().waitFor();
      assert.deepEqual(v.faults(), []);
    });
    const now = await ask(`/workspaces/default/incidents/${incident.number}`);
    assert.equal(now.status, next);
  });

  it('assigns, comments and shows both', async () => {
    const { number } = await newestOpen();
    const words = `Looked at it, ${Date.now()}`;
    await on(`/incidents/${number}`, {}, async (page, v) => {
      await page.getByRole('button', { name: 'Owner' }).click();
      await page.getByRole('menuitem', { name: /Assign to me/ }).click();
      await page.getByRole('textbox', { name: 'Comment' }).fill(words);
      await page.getByRole('button', { name: 'Send comment' }).click();
      await page.getByText(words).first().waitFor();
      assert.deepEqual(v.faults(), []);
    });
    assert.ok((await ask(`/workspaces/default/incidents/${number}`)).comments.some((c) => c.message === words));
  });

  it('asks for a classification before it closes', async () => {
    const { items } = await ask('/workspaces/default/incidents?status=New,Active&limit=50');
    const { number } = items.at(-1);
    await on(`/incidents/${number}`, {}, async (page, v) => {
      await page.getByRole('button', { name: 'Close', exact: false }).filter({ hasText: /^Close/ }).first().click();
      const dialog = page.getByRole('dialog');
      await dialog.getByRole('button', { name: 'Close incident' }).click();
      await dialog.getByRole('alert').waitFor();
      await dialog.getByRole('radio', { name: /Benign positive/ }).check();
      assert.deepEqual(await audit(page), []);
      await dialog.getByRole('button', { name: 'Close incident' }).click();
      await dialog.waitFor({ state: 'detached' });
      await page.getByRole('button', { name: 'Status: Closed' }).waitFor();
      assert.deepEqual(v.faults(), []);
    });
    const now = await ask(`/workspaces/default/incidents/${number}`);
    assert.equal(now.status, 'Closed');
    assert.equal(now.classification, 'BenignPositive');
  });

  it('goes by keyboard: g i, j, Enter, Escape, ?', async () => {
    await on('/', {}, async (page, v) => {
      await page.keyboard.press('g');
      await page.keyboard.press('i');
      await page.getByRole('heading', { level: 1, name: 'Incidents' }).waitFor();
      await page.locator('tr.here').waitFor();
      await page.keyboard.press('?');
      await page.getByRole('dialog', { name: 'Keys' }).waitFor();
      await page.keyboard.press('Escape');
      await page.getByRole('dialog', { name: 'Keys' }).waitFor({ state: 'detached' });
      await page.keyboard.press('Enter');
      await page.waitForURL(/\/incidents\/\d+/);
      await page.getByRole('button', { name: /^Status:/ }).waitFor();
      await page.keyboard.press('Escape');
      await page.waitForURL(/\/incidents$/);
      assert.deepEqual(v.faults(), []);
    });
  });

  it('keeps filters in the address, both ways', async () => {
    await on('/incidents', {}, async (page) => {
      await page.getByRole('group', { name: 'Severity' }).getByRole('checkbox', { name: /^High/ }).check();
      await page.waitForURL(/severity=High/);
      await page.reload();
      await settled(page);
      assert.ok(await page.getByRole('group', { name: 'Severity' }).getByRole('checkbox', { name: /^High/ }).isChecked());
      await page.goBack();
      await page.waitForFunction(() => !location.search.includes('severity'));
      assert.ok(!(await page.getByRole('group', { name: 'Severity' }).getByRole('checkbox', { name: /^High/ }).isChecked()));
    });
  });

  it('lets a new incident wait behind "1 new, show", and moves no row', { skip: mockOnly }, async () => {
    await on('/incidents', {}, async (page, v) => {
      const titles = () => page.locator('table.q a.t').allTextContents();
      const first = await titles();
      const { title } = world.server.open('Coil forced on RTU-PMP-02');
      const button = page.getByRole('button', { name: '1 new, show' });
      await button.waitFor();
      assert.deepEqual(await titles(), first);
      await button.click();
      await page.getByRole('link', { name: title }).first().waitFor();
      assert.equal((await titles())[0], title);
      assert.deepEqual(v.faults(), []);
    });
  });

  it('changes the status of several at once, and can undo it', { skip: mockOnly }, async () => {
    const before = (await ask('/workspaces/default/incidents?status=New&limit=2')).items;
    await on('/incidents?status=New', {}, async (page, v) => {
      for (const i of before) await page.getByRole('checkbox', { name: `Select ${i.number}` }).check();
      await page.getByRole('toolbar').getByRole('button', { name: /^Status/ }).click();
      await page.getByRole('menuitem', { name: 'Active' }).click();
      await page.getByText('2 incidents: Active').waitFor();
      for (const i of before) assert.equal((await ask(`/workspaces/default/incidents/${i.number}`)).status, 'Active');
      await page.getByRole('button', { name: 'Undo' }).click();
      await page.getByText('2 incidents: undone').waitFor();
      for (const i of before) assert.equal((await ask(`/workspaces/default/incidents/${i.number}`)).status, 'New');
      assert.deepEqual(v.faults(), []);
    });
  });
});

describe('logs', () => {
  const editor = (page) => page.getByRole('textbox', { name: 'Query' });
  async function write(page, text) {
    await editor(page).click();
    await page.keyboard.press('Control+a');
    await page.keyboard.press('Delete');
    for (const [i, line] of text.split('\n').entries()) {
      if (i > 0) await page.keyboard.press('Enter');
      await page.keyboard.insertText(line);
    }
  }

  it('runs a query and shows rows, with the query in the address', async () => {
    await on('/logs?t=any', {}, async (page, v) => {
      await write(page, 'SecurityAlert\n| take 5');
      await page.keyboard.press('Control+Enter');
      await page.getByRole('grid', { name: 'Result' }).waitFor();
      assert.match(await page.locator('.stats').textContent(), /[1-5] rows?, complete/);
      assert.match(decodeURIComponent(page.url()), /take\+5|take 5/);
      await page.getByRole('button', { name: 'Open row 1' }).click();
      await page.getByRole('complementary', { name: 'Row' }).getByText('VendorOriginalId').waitFor();
      assert.deepEqual(await audit(page), []);
      assert.deepEqual(v.faults(), []);
    });
  });

  it('marks a fault at its place while typing, and explains it when run', async () => {
    await on('/logs', {}, async (page, v) => {
      await write(page, 'SecurityAlert\n| where ProductName == "Azure Security Center for IoT"\nInstead');
      const mark = page.locator('.cm-lintRange-error');
      await mark.first().waitFor();
      assert.match((await mark.allTextContents()).join(' '), /Instead/);
      await page.keyboard.press('Shift+Enter');
      const faults = page.getByRole('alert');
      await faults.waitFor();
      assert.match(await faults.textContent(), /Line 3, column \d+.*Instead/s);
      assert.deepEqual(await audit(page), []);
      assert.deepEqual(v.faults(badRequest), []);
    });
  });

  it('runs the query at the cursor: a blank line separates', async () => {
    await on('/logs?t=any', {}, async (page, v) => {
      await write(page, 'SecurityIncident\n| take 1\n\nSecurityAlert\n| take 2');
      const asked = async () => (await page.waitForRequest(/\/query$/)).postDataJSON().query;
      let request = asked();
      await page.keyboard.press('Control+Enter');
      assert.equal(await request, 'SecurityAlert\n| take 2');
      await page.keyboard.press('Control+Home');
      request = asked();
      await page.keyboard.press('Control+Enter');
      assert.equal(await request, 'SecurityIncident\n| take 1');
      assert.deepEqual(v.faults(), []);
    });
  });

  it('completes tables, operators and columns', async () => {
    await on('/logs', {}, async (page, v) => {
      await write(page, '');
      await page.keyboard.type('SecurityAl');
      const take = async () => {
        await page.waitForTimeout(150); // the list ignores Enter in its first moments, so that fast typing is not hijacked
        await page.keyboard.press('Enter');
      };
      await page.getByRole('option', { name: /SecurityAlert/ }).first().waitFor();
      await take();
      await page.keyboard.type('\n| wher');
      await page.getByRole('option', { name: /^where/ }).first().waitFor();
      await take();
      await page.keyboard.type(' AlertSev');
      await page.getByRole('option', { name: /AlertSeverity/ }).first().waitFor();
      assert.deepEqual(v.faults(), []);
    });
  });

  it('lists SecurityAlert under both of its solutions, and finds columns', async () => {
    await on('/logs', {}, async (page) => {
      const tree = page.getByRole('complementary', { name: 'Tables' });
      await tree.getByRole('button', { name: /AzureSecurityOfThings/ }).waitFor();
      assert.equal(await tree.getByRole('button', { name: 'SecurityAlert', exact: true }).count(), 2);
      await tree.getByRole('searchbox', { name: 'Find table or column' }).fill('VendorOriginal');
      await tree.getByRole('button', { name: /Insert column VendorOriginalId/ }).first().waitFor();
    });
  });

  it('draws a chart and says when rows were cut, keeping few rows in the page', { skip: mockOnly }, async () => {
    await on('/logs?t=any&run=1&q=' + encodeURIComponent('OTProtocolEvent\n| summarize Writes = count() by bin(TimeGenerated, 30m), SourceDevice\n| render timechart'), {}, async (page, v) => {
      await page.getByRole('img', { name: /Writes by TimeGenerated: 10\.20\.20/ }).waitFor();
      assert.deepEqual(await audit(page), []);
      assert.deepEqual(v.faults(), []);
    });
    await on('/logs?t=any&run=1&q=' + encodeURIComponent('SecurityAlert\n| take 10000'), {}, async (page, v) => {
      await page.getByText('First 10,000 rows; there are more.').waitFor();
      assert.ok((await page.getByRole('row').count()) < 120);
      await page.getByRole('grid').focus();
      await page.keyboard.press('Control+End');
      await page.getByRole('button', { name: 'Open row 10000', exact: true }).waitFor();
      assert.deepEqual(v.faults(), []);
    });
  });
});

describe('connector', () => {
  it('disconnects and connects a subscription', async () => {
    await on('/connectors/iot', {}, async (page, v) => {
      const connect = page.getByRole('button', { name: /^Connect / });
      const disconnect = page.getByRole('button', { name: /^Disconnect / });
      const start = await disconnect.count();
      if (start > 0) {
        await disconnect.first().click();
        await page.getByRole('dialog').getByRole('button', { name: 'Disconnect' }).click();
        await page.getByText(/is disconnected/).waitFor();
        await page.waitForFunction((n) => [...document.querySelectorAll('tr.each button')].filter((b) => b.textContent.startsWith('Disconnect')).length === n, start - 1);
      }
      await connect.first().click();
      await page.getByRole('dialog').getByRole('button', { name: 'Connect' }).click();
      await page.getByText(/is connected/).waitFor();
      await disconnect.first().waitFor();
      assert.deepEqual(v.faults(), []);
    });
    const connector = await ask('/workspaces/default/connectors/iot');
    assert.ok(connector.subscriptions.some((s) => s.connected));
  });

  it('turns the create-incidents switch', async () => {
    await on('/connectors/iot', {}, async (page, v) => {
      const toggle = page.getByRole('switch', { name: 'Create incidents automatically' });
      const was = await toggle.getAttribute('aria-checked');
      for (const want of [was === 'true' ? 'false' : 'true', was]) {
        await toggle.click();
        await page.waitForFunction((w) => document.querySelector('[role="switch"]').getAttribute('aria-checked') === w, want);
      }
      assert.deepEqual(v.faults(), []);
    });
  });

  it('warns of a plan that is off, and enables it', { skip: mockOnly }, async () => {
    await on('/connectors/iot', {}, async (page, v) => {
      await page.getByText('The plan of this subscription is off').waitFor();
      await page.getByRole('button', { name: /^Enable the plan/ }).click();
      await page.getByText('The plan of this subscription is off').waitFor({ state: 'detached' });
      assert.deepEqual(v.faults(), []);
    });
  });
});

describe('alerts', () => {
  it('learns one, and offers no learning where the type cannot be learned', { skip: mockOnly }, async () => {
    await on('/alerts?engine=OPERATIONAL', {}, async (page) => {
      assert.ok(await page.getByRole('button', { name: 'Learn' }).isDisabled());
    });
    await on('/alerts?engine=POLICY_VIOLATION', {}, async (page, v) => {
      await page.getByRole('button', { name: 'Learn' }).click();
      await page.getByText(/Learn: sent to sensor/).waitFor();
      assert.deepEqual(v.faults(), []);
    });
  });
});

describe('frame', () => {
  it('keeps the theme over a reload', async () => {
    const v = await visit(world, '/', { theme: '' });
    await settled(v.page);
    await v.page.getByRole('button', { name: 'Light' }).click();
    assert.equal(await v.page.evaluate(() => document.documentElement.dataset.theme), 'light');
    assert.equal(await v.page.evaluate(() => localStorage.getItem('otus.theme')), 'light');
    await v.page.getByRole('button', { name: 'High contrast' }).click();
    assert.equal(await v.page.evaluate(() => document.documentElement.dataset.theme), 'contrast');
    await v.close();
  });

  it('searches from the bar', async () => {
    await on('/', {}, async (page, v) => {
      await page.keyboard.press('/');
      await page.keyboard.type('PLC');
      await page.keyboard.press('ArrowDown');
      await page.keyboard.press('Enter');
      await page.waitForURL(/\/devices\?q=PLC/);
      assert.deepEqual(v.faults(), []);
    });
  });

  it('says what failed beside the part that failed, and goes on', { skip: mockOnly }, async () => {
    const v = await visit(world, '/connectors');
    await settled(v.page);
    await v.page.route('**/fleet/devices*', (r) => r.fulfill({ status: 500, contentType: 'application/problem+json', body: '{"title":"Internal error","status":500,"detail":"store is busy"}' }));
    await v.page.getByRole('link', { name: /^Devices/ }).click();
    const alert = v.page.getByRole('alert');
    await alert.waitFor();
    assert.match(await alert.textContent(), /store is busy/);
    assert.deepEqual(await audit(v.page), []);
    await v.page.unroute('**/fleet/devices*');
    await v.page.getByRole('button', { name: 'Try again' }).click();
    await v.page.getByRole('link', { name: 'PLC-DOS-02' }).waitFor();
    await v.close();
  });

  it('has words for a plant where nothing happened yet', { skip: mockOnly }, async () => {
    const empty = await start({ empty: true });
    try {
      const first = await world.browser.newContext();
      const page = await first.newPage();
      await page.goto(empty.signin);
      const session = await first.storageState();
      await first.close();
      for (const [path, words] of [['/', 'No incident has been opened yet'], ['/incidents', 'No open incidents'], ['/devices', 'No device has been seen yet'], ['/alerts', 'No open alerts'], ['/sites', 'No sensor is onboarded']]) {
        const v = await visit(world, path, { origin: empty.origin, session });
        await v.page.getByText(words).first().waitFor();
        assert.deepEqual(await audit(v.page), [], path);
        assert.deepEqual(v.faults(), [], path);
        await v.close();
      }
    } finally {
      await empty.close();
    }
  });

  it('loads its first page small', { skip: mockOnly }, async () => {
    const names = [];
    const context = await world.browser.newContext({ storageState: world.session });
    const page = await context.newPage();
    page.on('response', (r) => { if (/\/assets\//.test(r.url())) names.push(r.url()); });
    await page.goto(`${world.origin}/`);
    await settled(page);
    await context.close();
    assert.ok(!names.some((n) => /editor/.test(n)), 'the editor is loaded by the Logs page only');
  });
});
