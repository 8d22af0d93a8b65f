// What is kept on the device between pages: it is bounded, each project's own, and goes out once.

import assert from 'node:assert/strict';

import { eventually, gate } from './harness/eventually.js';
import { scenes } from './harness/scene.js';

const test = scenes();

/** Nothing but what a test itself sends. */
const SILENT = { pageviews: 'false', clicks: 'false', forms: 'false' };
/** All that is kept for the site. */
const CHARACTERS = `Object.entries(localStorage).join('').length`;

/** @typedef {import('./harness/scene.js').Scene} Scene */

test('what waits on the device is bounded, and the newest of it arrives', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  scene.wire.always = { status: 503, headers: { 'Retry-After': '2' } };
  // 3 MB; a browser gives a site's storage 5 MB.
  await tab.evaluate(`for (let n = 0; n < 3_000; n++) weir('flood', { n, text: 'x'.repeat(1_000) })`);
  await scene.wire.awaitPosts(scene.key, 1);
  const kept = await eventually('much that is kept', async () => {
    const characters = Number(await tab.evaluate(`Object.entries(localStorage).join('').length`));
    return characters > 500_000 && characters;
  });
  assert.ok(kept < 2_500_000, `${kept} characters are kept`);
  scene.wire.behave();
  await eventually('the newest event', async () => {
    const rows = await scene.collector.events(scene.key);
    return rows.some(({ data }) => data.n === 2_999);
  });
});

test('two tabs of a site that leave events behind send each of them once', async (scene) => {
  const tabs = [await scene.open('/', { options: SILENT }), await scene.open('/second', { options: SILENT })];
  scene.wire.always = { status: 503, headers: { 'Retry-After': '60' } };
  for (const [n, tab] of tabs.entries()) await tab.evaluate(`weir('left', { n: ${n} })`);
  await eventually('two posts', () => scene.sent().length >= 2);
  for (const tab of tabs) await tab.goto(scene.site.url('/elsewhere'));
  await scene.wire.quiet(300);
  scene.wire.behave();
  await scene.open('/back', { options: SILENT });
  await scene.rows(2);
});

/** Each page sends one event. */
const PAGES = 18;
/** More than such an event has. */
const EVENT_CHARACTERS = 500;

/** @type {[string, number, import('./harness/wire.js').Behaviour][]} */
const OUTAGES = [
  ['answers 503', 2, { status: 503 }],
  ['cannot be reached', 3, { cut: 'before' }],
];

for (const [what, tabs, behaviour] of OUTAGES) {
  test(`${tabs} tabs that go from page to page while the collector ${what} keep each event once per tab`, async (scene) => {
    const url = scene.put('/', { options: SILENT });
    const opened = await Promise.all(Array.from({ length: tabs }, () => scene.context.newPage()));
    scene.wire.always = behaviour;
    for (let n = 1; n <= PAGES; n++) {
      const tab = opened[n % tabs] ?? assert.fail('there is no such tab');
      await tab.goto(`${url}?page=${n}`);
      await tab.evaluate(`weir('opened', { n: ${n} })`);
      const kept = Number(await tab.evaluate(CHARACTERS));
      assert.ok(kept < n * tabs * EVENT_CHARACTERS + 200, `${kept} characters are kept of ${n} events`);
    }
    await scene.wire.quiet(300);
    const before = scene.sent().length;
    scene.wire.behave();
    for (const tab of opened) await tab.goto(scene.site.url('/elsewhere'));
    await scene.open('/back', { options: SILENT });
    const rows = await scene.rows(PAGES);
    assert.equal(new Set(rows.map(({ data }) => data.n)).size, PAGES);
    const again = scene.sent().length - before;
    assert.ok(again <= PAGES * (tabs + 1) * 2, `${again} events were sent when the collector was back`);
  });
}

test('an event that has no answer when its tab crashes goes out on the next page', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  const never = gate();
  scene.wire.next = [{ hold: never.opened, cut: 'before' }];
  await tab.evaluate(`weir('before the crash')`);
  await scene.wire.awaitPosts(scene.key, 1);
  const crash = tab.waitForEvent('crash');
  const devtools = await scene.context.newCDPSession(tab);
  // It is not answered by what has crashed.
  devtools.send('Page.crash').catch(() => {});
  await crash;
  never.open();
  await scene.open('/next', { options: SILENT });
  const [row] = await scene.rows(1);
  assert.equal(row?.url, scene.site.url('/'));
});

test('a project does not take over the events of another whose key begins like its own', async (scene) => {
  const other = await scene.collector.project(`${scene.key}.eu`);
  const tab = await scene.open('/', { options: { ...SILENT, projectKey: other } });
  scene.wire.always = { status: 503, headers: { 'Retry-After': '60' } };
  await tab.evaluate(`weir('left')`);
  await scene.wire.awaitPosts(other, 1);
  scene.put('/own', { options: SILENT });
  // What is sent of it while it is left finds no answer either.
  await tab.goto(scene.site.url('/elsewhere'));
  await scene.wire.quiet(300);
  scene.wire.behave();
  await tab.goto(scene.site.url('/own'));
  await scene.rows(0);
  await scene.open('/again', { options: { ...SILENT, projectKey: other } });
  await scene.rows(1, { key: other });
});
