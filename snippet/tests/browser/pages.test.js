// Which pages count, when, and as what.

import assert from 'node:assert/strict';

import { eventually, gate, pause } from './harness/eventually.js';
import { STUB, scenes } from './harness/scene.js';

const test = scenes();

/** @typedef {import('./harness/scene.js').Scene} Scene */

/**
 * The pages that were viewed, as `referrer > url` without the host, in their order.
 * @param {Scene} scene
 * @param {number} count
 */
async function views(scene, count) {
  const rows = await scene.rows(count, { type: 'pageview' });
  const path = (/** @type {string} */ url) => url.replace(scene.site.url(''), '');
  return rows.map(({ referrer, url }) => `${path(referrer)} > ${path(url)}`);
}

/**
 * Runs something in the page and waits until its pageview is a row, so that rows have the order of the views.
 * @param {Scene} scene
 * @param {import('playwright-core').Page} tab
 * @param {string} change
 * @param {number} count of pageviews by then
 */
async function change(scene, tab, change, count) {
  await tab.evaluate(change);
  await scene.wire.quiet(100);
  await eventually(`${count} pageviews`, async () => {
    const rows = await scene.collector.events(scene.key);
    return rows.filter(({ type }) => type === 'pageview').length >= count;
  }).catch(() => {});
}

test('a page that has loaded is one pageview with its full url and its referrer', async (scene) => {
  const url = scene.put('/pricing?plan=pro#compare');
  const tab = await scene.open('/');
  await scene.rows(1);
  await scene.go(tab, url);
  const [first, second] = await scene.rows(2);
  assert.equal(first?.url, scene.site.url('/'));
  assert.equal(first?.referrer, '');
  assert.equal(second?.url, url);
  assert.equal(second?.referrer, scene.site.url('/'));
  assert.equal(second?.type, 'pageview');
  assert.equal(second?.source, 'snippet');
  assert.equal(second?.visitor, first?.visitor);
  assert.notEqual(second?.visitor, '');
});

test('pushState is a pageview whose referrer is the page before, and going back is one', async (scene) => {
  const tab = await scene.open('/a');
  await scene.rows(1);
  await change(scene, tab, `history.pushState({}, '', '/b?tab=1')`, 2);
  await change(scene, tab, `history.pushState({}, '', '/c')`, 3);
  await change(scene, tab, `history.back()`, 4);
  assert.deepEqual(await views(scene, 4), [' > /a', '/a > /b?tab=1', '/b?tab=1 > /c', '/c > /b?tab=1']);
});

test('History.prototype.pushState.call is a pageview', async (scene) => {
  const tab = await scene.open('/a');
  await scene.rows(1);
  await change(scene, tab, `History.prototype.pushState.call(history, {}, '', '/b')`, 2);
  assert.deepEqual(await views(scene, 2), [' > /a', '/a > /b']);
});

test('pushState is a pageview also where a browser has no Navigation API', async (scene) => {
  await scene.context.addInitScript(`delete window.navigation`);
  const tab = await scene.open('/a');
  assert.equal(await tab.evaluate(`'navigation' in window`), false);
  await scene.rows(1);
  await change(scene, tab, `history.pushState({}, '', '/b')`, 2);
  await change(scene, tab, `history.back()`, 3);
  assert.deepEqual(await views(scene, 3), [' > /a', '/a > /b', '/b > /a']);
});

test('pushState to the same url is no pageview', async (scene) => {
  const tab = await scene.open('/a');
  await tab.evaluate(
    `history.pushState({}, '', '/a'); history.pushState({}, '', '/a#there'); weir('marker')`,
  );
  await scene.rows(1, { type: 'marker' });
  assert.deepEqual(await views(scene, 1), [' > /a']);
});

test('replaceState is no pageview', async (scene) => {
  const tab = await scene.open('/a');
  await tab.evaluate(`history.replaceState({}, '', '/b'); weir('marker')`);
  await scene.rows(1, { type: 'marker' });
  assert.deepEqual(await views(scene, 1), [' > /a']);
});

test('a hash after a replaceState is no pageview either', async (scene) => {
  const tab = await scene.open('/a?utm_source=x');
  await tab.evaluate(`history.replaceState({}, '', '/a'); location.hash = 'part'`);
  await tab.evaluate(`weir('marker')`);
  await scene.rows(1, { type: 'marker' });
  assert.deepEqual(await views(scene, 1), [' > /a?utm_source=x']);
});

test('without the Navigation API, what a hook of the page throws does not reach its router', async (scene) => {
  await scene.context.addInitScript(`delete window.navigation; window.hook = (event) => event.boom.boom`);
  const tab = await scene.open('/a', { options: { beforeSend: 'hook' } });
  assert.equal(await tab.evaluate(`history.pushState({}, '', '/b'); location.pathname`), '/b');
});

test('replaceState is a pageview if asked', async (scene) => {
  const tab = await scene.open('/a', { options: { replaceState: 'true' } });
  await scene.rows(1);
  await change(scene, tab, `history.replaceState({}, '', '/b')`, 2);
  assert.deepEqual(await views(scene, 2), [' > /a', '/a > /b']);
});

test('another hash is no pageview', async (scene) => {
  const tab = await scene.open('/a');
  await tab.evaluate(`location.hash = 'there'`);
  await tab.evaluate(`weir('marker')`);
  await scene.rows(1, { type: 'marker' });
  assert.deepEqual(await views(scene, 1), [' > /a']);
});

test('another hash is a pageview if asked', async (scene) => {
  const tab = await scene.open('/a#one', { options: { spa: 'hash' } });
  await scene.rows(1);
  await change(scene, tab, `location.hash = 'two'`, 2);
  assert.deepEqual(await views(scene, 2), [' > /a#one', '/a#one > /a#two']);
});

test('another query is a pageview, unless only paths are asked for', async (scene) => {
  for (const [spa, expected] of /** @type {const} */ ([
    ['query', 3],
    ['path', 2],
  ])) {
    const key = await scene.collector.project();
    const tab = await scene.open('/a', { options: { spa, projectKey: key } });
    await scene.rows(1, { key });
    await tab.evaluate(`history.pushState({}, '', '/a?page=2')`);
    await tab.evaluate(`history.pushState({}, '', '/b')`);
    const rows = await scene.rows(expected, { key });
    assert.equal(rows.filter(({ url }) => url.endsWith('?page=2')).length, expected - 2, spa);
  }
});

test('pages of a single-page app do not count when that is off', async (scene) => {
  const tab = await scene.open('/a', { options: { spa: 'off' } });
  await tab.evaluate(`history.pushState({}, '', '/b'); weir('marker')`);
  await scene.rows(1, { type: 'marker' });
  assert.deepEqual(await views(scene, 1), [' > /a']);
});

test('no pageview of its own accord when those are off, and one when page is called', async (scene) => {
  const tab = await scene.open('/a', { options: { pageviews: 'false' } });
  await tab.evaluate(`history.pushState({}, '', '/b'); weir('marker')`);
  await scene.rows(1);
  await tab.evaluate(`weir('page')`);
  const rows = await scene.rows(1, { type: 'pageview' });
  assert.equal(rows[0]?.url, scene.site.url('/b'));
});

test('a page that comes back out of the back-forward cache is exactly one more pageview', async (scene) => {
  const there = scene.put('/there');
  const tab = await scene.open('/here', {
    head: `<script>addEventListener('pageshow', (event) => event.persisted && fetch('/came-back'))</script>`,
  });
  await scene.rows(1);
  await scene.go(tab, there);
  await scene.rows(2);
  // The tool's own way back hangs.
  await tab.evaluate(`history.back()`).catch(() => {});
  await eventually(
    'a page out of the cache',
    () => scene.site.visited(scene.site.url('/came-back')).length === 1,
  );
  const paths = (await scene.rows(3, { type: 'pageview' })).map(({ url }) => new URL(url).pathname);
  assert.deepEqual(paths, ['/here', '/there', '/here']);
});

/** Pages that nobody leads: the first has the browser prerender the second, and goes there when the gate opens. */
const PRERENDERING = `
  <script type="speculationrules">{"prerender": [{"urls": ["/next"], "eagerness": "immediate"}]}</script>
  <script>fetch('/gate').then(() => { location.href = '/next' })</script>`;

/** @param {Scene} scene */
async function prerender(scene) {
  // A prerendered page is one that could be trusted, which over plain HTTP is localhost alone.
  const options = { bots: undefined, localhost: 'true' };
  const activation = scene.site.gate('/gate');
  const first = scene.put('/first', { options, head: PRERENDERING, host: 'localhost' });
  const next = scene.put('/next', {
    options,
    head: `<script>fetch('/prerendering/' + document.prerendering); weir('called')</script>`,
    host: 'localhost',
  });
  await scene.openAlone(first);
  await eventually('a prerendered page', () => {
    const pages = scene.site.visited(next);
    const rendered = scene.site.visited(new URL('/prerendering/true', next).href).length === 1;
    return rendered && pages[0]?.headers['sec-purpose']?.includes('prerender');
  });
  return { activation, first, next };
}

test('a prerendered page counts once it is looked at, and not before', async (scene) => {
  const { activation, first, next } = await prerender(scene);
  await scene.wire.quiet(1_000);
  const [before] = await scene.rows(1);
  assert.equal(before?.url, first);
  activation.open();
  const rows = (await scene.rows(3)).filter(({ url }) => url === next);
  assert.deepEqual(rows.map(({ type }) => type).sort(), ['called', 'pageview']);
  assert.equal(scene.site.visited(next).length, 1, 'the page that was prerendered is the one that is shown');
});

test('a prerendered page that nobody looks at never counts', async (scene) => {
  const { first } = await prerender(scene);
  await scene.wire.quiet(1_000);
  await scene.close();
  const rows = await scene.rows(1);
  assert.equal(rows[0]?.url, first);
});

test('a page whose url is longer than the collector takes counts with what fits of it', async (scene) => {
  const tab = await scene.open('/');
  await scene.rows(1);
  await change(scene, tab, `history.pushState({}, '', '/list?' + 'filter=shoes&'.repeat(900))`, 2);
  await change(scene, tab, `history.pushState({}, '', '/next')`, 3);
  const [, long, next] = await scene.rows(3);
  assert.equal(long?.url.length, 8_000);
  assert.ok(long.url.startsWith(scene.site.url('/list?filter=shoes&filter')), long.url);
  assert.equal(next?.url, scene.site.url('/next'));
  assert.equal(next?.referrer, long.url);
});

test('a tab in the background counts when it is first seen', async (scene) => {
  scene.put('/behind', {
    options: { bots: undefined },
    head: `<script>fetch('/state/' + document.visibilityState)</script>`,
  });
  const front = scene.site.gate('/gate');
  scene.put('/front', { snippet: `<script>fetch('/gate').then(() => close())</script>` });
  // A tab that goes on to the page once another has come in front of it.
  const start = scene.put('/start', {
    snippet: `<script>
      document.addEventListener('visibilitychange', () => { location.href = '/behind' });
      open('/front');
    </script>`,
  });
  await scene.openAlone(start);
  await eventually('a hidden page', () => scene.site.visited(scene.site.url('/state/hidden')).length === 1);
  await scene.rows(0);
  // The tab in front closes.
  front.open();
  assert.deepEqual(await views(scene, 1), ['/start > /behind']);
});

test('a page that is hidden and seen again is one pageview, and its events arrive once', async (scene) => {
  const front = scene.site.gate('/gate');
  scene.put('/front', { snippet: `<script>fetch('/gate').then(() => close())</script>` });
  const start = scene.put('/start', {
    options: { bots: undefined },
    body: `<script>
      document.addEventListener('visibilitychange', () => weir(document.hidden ? 'meanwhile' : 'after'));
      addEventListener('load', () => { weir('before'); open('/front') });
    </script>`,
  });
  await scene.openAlone(start);
  await scene.rows(3);
  front.open();
  const rows = await scene.rows(4);
  assert.deepEqual(rows.map(({ type }) => type).sort(), ['after', 'before', 'meanwhile', 'pageview']);
});

test('calls made before the script came keep their own time and url', async (scene) => {
  const script = gate();
  scene.wire.holdScript = script.opened;
  const url = scene.put('/start', {
    snippet: `${STUB}<script>weir('early', { n: 1 }); history.pushState({}, '', '/later'); weir('track', 'late', { n: 2 })</script>${scene.tag()}`,
  });
  const tab = await scene.context.newPage();
  await tab.goto(url, { waitUntil: 'commit' });
  await eventually('the page and its calls', () => tab.evaluate(`window.weir?.q?.length === 2`));
  const called = Date.now();
  await pause(1_500);
  script.open();
  const rows = await scene.rows(3);
  const [early, late] = ['early', 'late'].map((type) => rows.find((row) => row.type === type));
  assert.equal(early?.url, url);
  assert.deepEqual(early?.data, { n: 1 });
  assert.equal(late?.url, scene.site.url('/later'));
  assert.deepEqual(late?.data, { n: 2 });
  for (const row of [early, late])
    assert.ok((row?.at ?? Infinity) <= called + 50, `${row?.type} has its own time`);
  assert.equal(rows.filter(({ type }) => type === 'pageview').length, 1);
});
