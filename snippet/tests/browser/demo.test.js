// The demo page, as a newcomer uses it. Here the page is what is tested, so that what it shows is looked at; the rows
// are ClickHouse's own all the same.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch } from './harness/chromium.js';
import { Collector } from './harness/collector.js';
import { eventually } from './harness/eventually.js';

const KEY = 'pk_live_demo';

/** @type {Collector} */
let collector;
/** @type {import('playwright-core').Browser} */
let browser;

before(async () => {
  [collector, browser] = await Promise.all([Collector.start(['--demo']), launch()]);
  const rows = `${collector.operations}/demo/rows?ids=${crypto.randomUUID()}`;
  await eventually('the demo project', async () => (await fetch(rows)).ok, 30_000);
});

after(async () => {
  await browser?.close();
  await collector?.stop();
});

/**
 * What the page shows, the oldest first.
 * @param {import('playwright-core').Page} tab
 */
function shown(tab) {
  return tab.locator('#events tr').evaluateAll((rows) =>
    rows
      .map((row) => {
        const [sent, stored, after] = [...row.querySelectorAll('td')].map((cell) => cell.textContent);
        const { eventId: id, state } = row.dataset;
        return { id, state, sent: JSON.parse(sent ?? ''), stored: stored ?? '', after: after ?? '' };
      })
      .reverse(),
  );
}

test('every event of the demo page is shown as it was sent, and as the row that it has become', async () => {
  const context = await browser.newContext();
  // Nothing but loopback is talked to.
  await context.route('https://**', (route) => route.fulfill({ body: 'elsewhere' }));
  /** @type {string[]} */
  const complaints = [];
  context.on('weberror', (error) => complaints.push(String(error.error().stack)));
  const tab = await context.newPage();
  // What the policy forbids is told on the console.
  tab.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));

  await tab.goto(`${collector.operations}/demo`);
  const elsewhere = context.waitForEvent('page');
  await tab.click('text=leads out');
  await (await elsewhere).close();
  const download = tab.waitForEvent('download');
  await tab.click('text=A download');
  assert.equal((await download).suggestedFilename(), 'weir-metrics.txt');
  await tab.click('#tracked');
  await tab.click('#push');
  await tab.click('#custom');
  await tab.fill('#newsletter input', 'eve@example.com');
  await tab.click('#newsletter button');
  await tab.click('#identify');

  const rows = await eventually('all rows on the page', async () => {
    const all = await shown(tab);
    return (
      all.some(({ sent }) => sent.type === 'identified') &&
      all.every(({ state }) => state === 'arrived') &&
      all
    );
  });
  const types = rows.map(({ sent }) => sent.type);
  assert.deepEqual(types.toSorted(), [
    'click', // out
    'click', // download
    'click', // another page
    'click', // subscribe
    'form_submit',
    'identified',
    'pageview',
    'pageview',
    'plan_chosen',
    'signup',
  ]);
  for (const { id, sent, stored, after } of rows) {
    assert.equal(sent.eventId, id);
    for (const text of [id, sent.type, sent.url, 'desktop', 'Linux'])
      assert.ok(stored.includes(text ?? ''), stored);
    assert.match(after, /^\d+ ms$/);
  }
  assert.equal(await tab.textContent('#status'), '10 of 10 events are rows.');
  assert.match(rows.at(-1)?.stored ?? '', /user_42/);
  assert.ok(!JSON.stringify(rows).includes('eve@'), 'what was typed stays in the page');

  const stored = await collector.events(KEY);
  const ids = (/** @type {{ id?: string | undefined }[]} */ list) => list.map(({ id }) => id).toSorted();
  assert.deepEqual(ids(stored), ids(rows), 'the table has exactly what the page shows');
  const plan = stored.find(({ type }) => type === 'plan_chosen');
  assert.equal(plan?.data.plan, 'pro');
  assert.deepEqual(complaints, []);
  await context.close();
});
