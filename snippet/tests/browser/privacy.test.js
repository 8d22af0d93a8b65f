// Who is counted, what is kept on the device, and what never leaves it.

import assert from 'node:assert/strict';

import { scenes } from './harness/scene.js';

const test = scenes();

/** @typedef {import('./harness/scene.js').Scene} Scene */
/** @typedef {import('playwright-core').Page} Tab */

const BUSY = `weir('signup', { plan: 'pro' }); weir('track', 'again')`;

/**
 * What the browser keeps for the site: cookies of every host, and the storages of the tab's page.
 * @param {Scene} scene
 * @param {Tab} tab
 */
async function kept(scene, tab) {
  const cookies = (await scene.context.cookies()).map(({ name, value }) => [name, value]);
  const storages = await tab.evaluate(`[Object.entries(localStorage), Object.entries(sessionStorage)]`);
  const databases = await tab.evaluate(`indexedDB.databases().then((all) => all.map(({ name }) => name))`);
  return JSON.stringify([cookies, storages, databases]);
}

const NOTHING = JSON.stringify([[], [[], []], []]);

/**
 * Holds that a busy page that is left again sends nothing.
 * @param {Scene} scene
 * @param {Tab} tab
 */
async function silent(scene, tab) {
  await tab.evaluate(BUSY);
  await tab.goto('about:blank');
  await scene.rows(0);
  assert.deepEqual(scene.sent(), []);
}

test('no cookie is set unless asked for, and the visitor keeps an id', async (scene) => {
  const tab = await scene.open('/');
  await tab.evaluate(BUSY);
  await scene.rows(3);
  assert.deepEqual(await scene.context.cookies(), []);
  await tab.reload();
  const rows = await scene.rows(4);
  assert.equal(new Set(rows.map(({ visitor }) => visitor)).size, 1);
});

test('a cookie on the parent domain makes one visitor of two subdomains', async (scene) => {
  const options = { storage: 'cookie', cookieDomain: 'example.test' };
  await scene.open('/', { options, host: 'shop.example.test' });
  await scene.open('/', { options, host: 'www.example.test' });
  const rows = await scene.rows(2);
  assert.deepEqual(
    new Set(rows.map(({ url }) => new URL(url).hostname)),
    new Set(['shop.example.test', 'www.example.test']),
  );
  assert.equal(rows[0]?.visitor, rows[1]?.visitor);
  const [cookie, ...others] = await scene.context.cookies();
  assert.equal(others.length, 0);
  assert.equal(cookie?.value, rows[0]?.visitor);
  assert.equal(cookie?.domain, '.example.test');
  assert.equal(cookie?.sameSite, 'Lax');
});

test('two sites without a common cookie see two visitors', async (scene) => {
  await scene.open('/', { host: 'shop.example.test' });
  await scene.open('/', { host: 'www.example.test' });
  const [one, other] = await scene.rows(2);
  assert.notEqual(one?.visitor, other?.visitor);
});

test('without storage nothing is kept on the device, and events arrive', async (scene) => {
  const tab = await scene.open('/', { options: { storage: 'none' } });
  await tab.evaluate(BUSY);
  await scene.rows(3);
  assert.equal(await kept(scene, tab), NOTHING);
});

test('while consent is pending nothing is sent or kept, and once it is granted everything arrives', async (scene) => {
  const tab = await scene.open('/?page=1', { options: { consent: 'pending' } });
  await tab.evaluate(BUSY);
  await scene.rows(0);
  assert.deepEqual(scene.sent(), []);
  assert.equal(await kept(scene, tab), NOTHING);
  const answered = Date.now();
  await tab.evaluate(`history.replaceState({}, '', '/?page=2'); weir('consent', true)`);
  const rows = await scene.rows(3);
  assert.deepEqual(rows.map(({ type }) => type).sort(), ['again', 'pageview', 'signup']);
  for (const { at, url } of rows) {
    assert.ok(at < answered, 'it keeps its time');
    assert.equal(url, scene.site.url('/?page=1'), 'it keeps its url');
  }
  assert.ok((await kept(scene, tab)).includes(rows[0]?.visitor || 'an id'));
});

test('consent that is given again sends again, also when it was taken while a request failed', async (scene) => {
  const tab = await scene.open('/', { options: { pageviews: 'false' } });
  scene.wire.always = { status: 503, headers: { 'Retry-After': '1' } };
  await tab.evaluate(`weir('lost')`);
  await scene.wire.awaitPosts(scene.key, 1);
  await tab.evaluate(`weir('consent', false)`);
  // Longer than the pause after a first failure.
  await tab.waitForTimeout(3_000);
  scene.wire.behave();
  await tab.evaluate(`weir('consent', true); weir('found')`);
  const [row] = await scene.rows(1);
  assert.equal(row?.type, 'found');
});

test('consent that is denied sends nothing and keeps nothing', async (scene) => {
  const tab = await scene.open('/', { options: { consent: 'pending' } });
  await tab.evaluate(`${BUSY}; weir('consent', false); ${BUSY}`);
  assert.equal(await kept(scene, tab), NOTHING);
  await silent(scene, tab);
});

for (const answer of [`'denied'`, `'false'`, '1', 'undefined']) {
  test(`consent of ${answer} is no consent`, async (scene) => {
    const tab = await scene.open('/', { options: { consent: 'pending' } });
    await tab.evaluate(`${BUSY}; weir('consent', ${answer}); ${BUSY}`);
    assert.equal(await kept(scene, tab), NOTHING);
    await silent(scene, tab);
  });
}

for (const word of ['denied', 'false', '']) {
  test(`a tag that says data-consent="${word}" waits for consent, and hears it`, async (scene) => {
    const tab = await scene.open('/', { options: { consent: word } });
    await tab.evaluate(BUSY);
    await scene.rows(0);
    assert.deepEqual(scene.sent(), []);
    assert.equal(await kept(scene, tab), NOTHING);
    await tab.evaluate(`weir('consent', true)`);
    await scene.rows(3);
  });
}

test('a page that is left while consent is pending sends nothing', async (scene) => {
  await silent(scene, await scene.open('/', { options: { consent: 'pending' } }));
});

test('consent that is withdrawn takes the id from the device, and silences the page', async (scene) => {
  const tab = await scene.open('/');
  const [row] = await scene.rows(1);
  await tab.evaluate(`weir('consent', false); ${BUSY}`);
  assert.ok(!(await kept(scene, tab)).includes(row?.visitor || 'an id'));
  await tab.goto('about:blank');
  await scene.rows(1);
});

test('a visitor who opts out is not counted until opting in again', async (scene) => {
  const tab = await scene.open('/');
  const [row] = await scene.rows(1);
  await tab.evaluate(`weir('optOut'); ${BUSY}`);
  await tab.reload();
  await tab.evaluate(BUSY);
  assert.ok(!(await kept(scene, tab)).includes(row?.visitor || 'an id'));
  await tab.evaluate(`weir('optIn'); weir('back')`);
  const rows = await scene.rows(2);
  assert.equal(rows[1]?.type, 'back');
});

test('a visitor who opts out while a request fails, and in again, is counted from then on', async (scene) => {
  const tab = await scene.open('/', { options: { pageviews: 'false' } });
  scene.wire.always = { status: 503, headers: { 'Retry-After': '1' } };
  await tab.evaluate(`weir('lost')`);
  await scene.wire.awaitPosts(scene.key, 1);
  await tab.evaluate(`weir('optOut')`);
  // Longer than the pause after a first failure.
  await tab.waitForTimeout(3_000);
  scene.wire.behave();
  await tab.evaluate(`weir('optIn'); weir('found')`);
  const [row] = await scene.rows(1);
  assert.equal(row?.type, 'found');
});

/** @type {[string, string, import('./harness/scene.js').Options, boolean][]} */
const SIGNALS = [
  ['Global Privacy Control silences it', 'globalPrivacyControl', {}, false],
  ['Global Privacy Control is not asked for if told so', 'globalPrivacyControl', { gpc: 'false' }, true],
  ['Do Not Track alone does not silence it', 'doNotTrack', {}, true],
  ['Do Not Track silences it if told so', 'doNotTrack', { dnt: 'true' }, false],
];

for (const [what, signal, options, counted] of SIGNALS) {
  test(what, async (scene) => {
    const value = signal === 'doNotTrack' ? `'1'` : 'true';
    await scene.context.addInitScript(
      `Object.defineProperty(Navigator.prototype, '${signal}', { get: () => ${value}, configurable: true })`,
    );
    const tab = await scene.open('/', { options });
    if (counted) {
      await scene.rows(1);
    } else {
      await silent(scene, tab);
    }
  });
}

test('an automated browser is not counted', async (scene) => {
  const tab = await scene.open('/', { options: { bots: undefined } });
  assert.equal(await tab.evaluate(`navigator.webdriver`), true);
  await silent(scene, tab);
});

test('localhost is not counted', async (scene) => {
  await silent(scene, await scene.open('/', { host: 'localhost' }));
});

test('localhost is counted if told so', async (scene) => {
  await scene.open('/', { host: 'localhost', options: { localhost: 'true' } });
  await scene.rows(1);
});

/** @param {Scene} scene @param {import('./harness/scene.js').Options} options */
async function sandboxed(scene, options) {
  const inner = scene.put('/inner', { options, body: '<a href="mailto:sales@shop.test">Write</a>' });
  const tab = await scene.open('/', {
    snippet: '',
    body: `<iframe sandbox="allow-scripts" src="${inner}"></iframe>`,
  });
  const frame = tab.frameLocator('iframe');
  await frame.locator('a').click();
  return tab;
}

test('a page in a sandboxed frame is not counted', async (scene) => {
  const tab = await sandboxed(scene, {});
  await tab.goto('about:blank');
  await scene.rows(0);
});

test('a page in a sandboxed frame, where storage throws, is counted if told so', async (scene) => {
  await sandboxed(scene, { frames: 'true' });
  const rows = await scene.rows(2);
  assert.deepEqual(rows.map(({ type }) => type).sort(), ['click', 'pageview']);
});

const EVERY_TOUCH = `for (const name of ['localStorage', 'sessionStorage', 'indexedDB'])
  Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError') } });
  Object.defineProperty(Document.prototype, 'cookie', {
    get() { throw new DOMException('no', 'SecurityError') }, set() { throw new DOMException('no', 'SecurityError') } });`;
const EVERY_WRITE = `Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') };`;

for (const [when, script] of [
  ['at every touch', EVERY_TOUCH],
  ['at every write', EVERY_WRITE],
]) {
  for (const storage of ['local', 'cookie']) {
    test(`storage that throws ${when} loses no event with storage ${storage}`, async (scene) => {
      await scene.context.addInitScript(/** @type {string} */ (script));
      const tab = await scene.open('/', { options: { storage } });
      await tab.evaluate(`${BUSY}; weir('optIn'); weir('consent', true); weir('last')`);
      await scene.rows(4);
    });
  }
}

/** Values that give somebody away, by their look or by the name before them. */
const SECRETS = [
  'token=abc123',
  'access_token=def456',
  'code=ghi789',
  'password=jkl012',
  'email=jane.doe%40mail.test',
  'u=john.roe@mail.test',
  'utm_term=jim.poe@mail.test',
  'session=mno345',
  'x=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N',
  'k=sk_live_51H8abcdefghijklmnopqrstuvwxyz',
  'pwd=hunter2',
  'who=jill.loe%2540mail.test',
  'next=%2Freset%3Ftoken%3DsecretTok123',
];
/** What reports are made of. */
const HARMLESS =
  'utm_source=news&utm_campaign=summer_sale_2026_europe&gclid=Cj0KCQjw-abc_123-XYZabc456&q=how+to+bake+2+cakes+today&page=2&plan=pro';
const VALUES = SECRETS.map((secret) => secret.split('=')[1] ?? '');

test('secrets in a query are never on the wire: of the url, the referrer, links and forms', async (scene) => {
  const query = SECRETS.join('&');
  scene.put(`/next`, { body: `<form action="/done?${query}"><button>Send</button></form>` });
  const tab = await scene.open(`/start?${HARMLESS}&${query}`, {
    body: `<a id="out" href="http://other.test/?${query}" onclick="event.preventDefault()">Out</a>`,
  });
  await tab.click('#out');
  await tab.evaluate(`history.pushState({}, '', '/other?${query}')`);
  await scene.go(tab, scene.site.url(`/next?${query}&size=5#token=hash123`));
  await tab.waitForURL('**/next?*');
  await tab.evaluate(
    `document.querySelector('form').addEventListener('submit', (event) => event.preventDefault())`,
  );
  await tab.click('button');
  await scene.rows(1, { type: 'form_submit' });
  const sent = JSON.stringify(
    scene.wire.posts(scene.key).map(({ path, headers, body }) => [path, headers, body]),
  );
  assert.ok(sent.includes(HARMLESS) && sent.includes('size=5'), 'what is no secret is kept');
  for (const value of [
    ...VALUES,
    'jane.doe@mail.test',
    'john.roe%40mail.test',
    'jim.poe%40mail.test',
    'jill.loe',
    'secretTok123',
    'hash123',
  ]) {
    assert.ok(!sent.includes(value), `${value} was sent`);
  }
});

test('of a list of query parameters, only those keep their values', async (scene) => {
  await scene.open('/?utm_source=news&plan=pro&other=Gone', { options: { query: 'utm_source,plan' } });
  const [row] = await scene.rows(1);
  assert.match(row?.url ?? '', /utm_source=news/);
  assert.match(row?.url ?? '', /plan=pro/);
  assert.doesNotMatch(row?.url ?? '', /Gone/);
});
