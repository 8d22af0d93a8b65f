// Clicks: which count, and that the page's own handling of them is never touched.

import assert from 'node:assert/strict';

import { eventually } from './harness/eventually.js';
import { scenes } from './harness/scene.js';

const test = scenes();

/** Nothing but clicks. */
const CLICKS = { pageviews: 'false', forms: 'false' };

/** @typedef {import('./harness/scene.js').Scene} Scene */

/**
 * The one click that is a row, as text that contains all that is known of it.
 * @param {Scene} scene
 */
async function click(scene) {
  const [row] = await scene.rows(1, { type: 'click' });
  assert.ok(row);
  return { ...row, text: JSON.stringify(row.data) };
}

test('a plain click on a link that leads away is one click, and the browser goes there', async (scene) => {
  const away = scene.site.put('/away?ref=shop', {}, 'other.test');
  const tab = await scene.open('/', { options: CLICKS, body: `<a href="${away}"><b><i>Away</i></b></a>` });
  await tab.click('i');
  await tab.waitForURL(away);
  const { data, url } = await click(scene);
  assert.equal(data.href, away);
  assert.equal(url, scene.site.url('/'));
  assert.equal(scene.site.visited(away).length, 1);
});

for (const [gesture, options] of /** @type {const} */ ([
  ['ctrl-click', { modifiers: ['Control'] }],
  ['middle click', { button: 'middle' }],
])) {
  test(`a ${gesture} is one click and opens another tab`, async (scene) => {
    const away = scene.site.put('/away', {}, 'other.test');
    const tab = await scene.open('/', { options: CLICKS, body: `<a href="${away}">Away</a>` });
    const opened = scene.context.waitForEvent('page');
    await tab.click('a', /** @type {any} */ (options));
    await (await opened).waitForURL(away);
    assert.equal((await click(scene)).data.href, away);
    assert.equal(tab.url(), scene.site.url('/'), 'this tab stays where it is');
    assert.equal(scene.site.visited(away).length, 1);
  });
}

test('a right click is no click', async (scene) => {
  const tab = await scene.open('/', { options: CLICKS, body: '<a href="http://other.test/away">Away</a>' });
  await tab.click('a', { button: 'right' });
  await tab.evaluate(`weir('marker')`);
  await scene.rows(1);
});

test('a click on nothing in particular is no click', async (scene) => {
  const tab = await scene.open('/', { options: CLICKS, body: '<p>Just text</p>' });
  await tab.click('p');
  await tab.evaluate(`weir('marker')`);
  await scene.rows(1);
});

test('no click counts when they are off', async (scene) => {
  const tab = await scene.open('/', {
    options: { ...CLICKS, clicks: 'false' },
    body: '<a href="mailto:sales@shop.test">Write</a><button data-track="buy">Buy</button>',
  });
  await tab.click('a');
  await tab.click('button');
  await tab.evaluate(`weir('marker')`);
  await scene.rows(1);
});

/** A router as single-page apps have it: it takes a click from the browser, and goes there by itself. */
const ROUTER = `<script>
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a');
    if (!link || event.defaultPrevented) return;
    event.preventDefault();
    history.pushState({}, '', link.getAttribute('href'));
  });
</script>`;

test('links of a router are left to it', async (scene) => {
  const tab = await scene.open('/app', { body: `<a href="/app/next">Next</a>${ROUTER}` });
  await scene.rows(1);
  await tab.evaluate(`window.same = true`);
  await tab.click('a');
  const rows = await scene.rows(2, { type: 'pageview' });
  assert.equal(rows[1]?.url, scene.site.url('/app/next'));
  assert.equal(await tab.evaluate(`window.same`), true, 'the page was not loaded anew');
  assert.equal(scene.site.visited(scene.site.url('/app/next')).length, 0);
});

/** @type {[string, string][]} */
const LINKS = [
  ['download by its name', '/files/report.pdf'],
  ['mail address', 'mailto:sales@shop.test'],
  ['telephone number', 'tel:+4930123456'],
];

for (const [what, href] of LINKS) {
  test(`a click on a ${what} is one click`, async (scene) => {
    const headers = { 'Content-Type': 'application/pdf', 'Content-Disposition': 'attachment' };
    if (href.startsWith('/')) scene.site.put(href, { headers });
    const tab = await scene.open('/', { options: CLICKS, body: `<a href="${href}">Here</a>` });
    await tab.click('a');
    const { text } = await click(scene);
    assert.ok(text.includes(/** @type {string} */ (href.split('@')[0])), text);
  });
}

test('a click on a link with the attribute download is one click, and the file comes', async (scene) => {
  scene.site.put('/report', { headers: { 'Content-Type': 'text/csv' }, body: 'a,b' });
  const tab = await scene.open('/', {
    options: CLICKS,
    body: '<a href="/report" download="june.csv">June</a>',
  });
  const [download] = await Promise.all([tab.waitForEvent('download'), tab.click('a')]);
  assert.equal(download.suggestedFilename(), 'june.csv');
  assert.ok((await click(scene)).text.includes('/report'));
});

test('a click on a link inside an SVG is one click with its address as text', async (scene) => {
  const away = scene.site.put('/away', {}, 'other.test');
  const tab = await scene.open('/', {
    options: CLICKS,
    body: `<svg width="200" height="50"><a href="${away}"><text y="20">Away</text></a></svg>`,
  });
  await tab.click('text');
  await tab.waitForURL(away);
  assert.equal((await click(scene)).data.href, away);
});

test('a click in a shadow root that stops it there is one click', async (scene) => {
  const away = scene.site.put('/away', {}, 'other.test');
  const tab = await scene.open('/', {
    options: CLICKS,
    body: `<div id="card"></div><script>
      const root = document.querySelector('#card').attachShadow({ mode: 'open' });
      root.innerHTML = '<a href="${away}"><span>Away</span></a>';
      root.querySelector('a').addEventListener('click', (event) => {
        event.stopPropagation();
        event.stopImmediatePropagation();
      });
    </script>`,
  });
  await tab.click('#card span');
  await tab.waitForURL(away);
  assert.equal((await click(scene)).data.href, away);
});

test('data-track names the event, and data-track-* are its properties', async (scene) => {
  const tab = await scene.open('/', {
    options: CLICKS,
    body: '<div data-track="buy" data-track-plan="pro" data-track-seat-count="5"><span>Buy</span></div>',
  });
  await tab.click('span');
  const [row] = await scene.rows(1);
  const all = JSON.stringify([row?.type, row?.data]);
  for (const part of ['buy', 'pro', '5']) assert.ok(all.includes(`"${part}"`), all);
});

test('a click on a label is one click, as is one on its field', async (scene) => {
  const tab = await scene.open('/', {
    options: CLICKS,
    body: `<label data-track="agree"><input type="checkbox"> <span>Agree</span></label><button>Twice</button>`,
  });
  await tab.click('span');
  await tab.click('span');
  await tab.click('input');
  await tab.keyboard.press('Space');
  await tab.dblclick('button');
  const types = (await scene.rows(6)).map(({ type }) => type).sort();
  assert.deepEqual(types, ['agree', 'agree', 'agree', 'agree', 'click', 'click']);
});

/** Links that hold what they lead to. */
const CONTENT = {
  'data:': 'data:text/plain,Held-content',
  'javascript:': `javascript:void 'Held-content'`,
  'blob:': 'blob:http://shop.test/Held-content',
};

for (const [scheme, href] of Object.entries(CONTENT)) {
  test(`of a link with ${scheme} only that is told`, async (scene) => {
    const tab = await scene.open('/', {
      options: CLICKS,
      body: `<a href="${href}" onclick="event.preventDefault()">Open</a>`,
    });
    await tab.click('a');
    const { data } = await click(scene);
    assert.deepEqual(data, { href: scheme, kind: scheme.slice(0, -1) });
    assert.ok(!JSON.stringify(scene.sent()).includes('Held-content'));
  });
}

test('data-track-ignore on any ancestor keeps a click to itself, also from outside a shadow root', async (scene) => {
  const tab = await scene.open('/', {
    options: CLICKS,
    body: `<section data-track-ignore>
      <p><a href="mailto:sales@shop.test">Write</a></p><p><button data-track="buy">Buy</button></p><div id="card"></div>
    </section><script>
      document.querySelector('#card').attachShadow({ mode: 'open' }).innerHTML = '<button>Inside</button>';
    </script>`,
  });
  await tab.click('a');
  await tab.click('section > p > button');
  await tab.click('#card button');
  await tab.evaluate(`weir('marker')`);
  await scene.rows(1);
});

test('a click that the page prevents stays prevented, and one that it does not is not', async (scene) => {
  const away = scene.site.put('/away', {}, 'other.test');
  const report = `fetch('/prevented/' + event.defaultPrevented)`;
  const tab = await scene.open('/', {
    options: CLICKS,
    body: `<a id="kept" href="${away}">Kept</a><a id="free" href="#free">Free</a><script>
      document.querySelector('#kept').addEventListener('click', (event) => event.preventDefault());
      addEventListener('click', (event) => setTimeout(() => ${report}, 20));
    </script>`,
  });
  await tab.click('#kept');
  await eventually(
    'the first click',
    () => scene.site.visited(scene.site.url('/prevented/true')).length === 1,
  );
  await tab.click('#free');
  await eventually(
    'the second click',
    () => scene.site.visited(scene.site.url('/prevented/false')).length === 1,
  );
  assert.equal(scene.site.visited(away).length, 0);
  assert.equal(tab.url(), scene.site.url('/#free'));
});

test('links with hrefs that make no sense break nothing', async (scene) => {
  const hrefs = ['http://[', 'javascript:void 0', '', '//', 'http://user:pass@%zz/', 'blob:x'];
  const links = hrefs.map((href) => `<p><a href="${href}" onclick="event.preventDefault()">link</a></p>`);
  const tab = await scene.open('/', { options: CLICKS, body: `${links.join('')}<p><a>none</a></p>` });
  for (const link of await tab.locator('a').all()) await link.click();
  await tab.evaluate(`weir('marker')`);
  await scene.rows(1, { type: 'marker' });
});
