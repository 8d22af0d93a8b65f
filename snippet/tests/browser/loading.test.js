// How the snippet comes into a page, what it is told there, and that the page is none the worse for it.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { STUB, scenes } from './harness/scene.js';

const test = scenes();

/** Nothing of its own accord. */
const SILENT = { pageviews: 'false', clicks: 'false', forms: 'false' };

test('under a strict content security policy with nonce and integrity everything works', async (scene) => {
  const integrity = `sha384-${createHash('sha384')
    .update(await scene.wire.script())
    .digest('base64')}`;
  const policy = [
    `default-src 'none'`,
    `script-src 'nonce-abc123' 'strict-dynamic'`,
    `connect-src ${scene.collectorUrl()}`,
    `require-trusted-types-for 'script'`,
    `report-uri ${scene.site.url('/violation')}`,
  ];
  const away = scene.site.put('/away', {}, 'other.test');
  const tag = scene.tag({}, `nonce="abc123" integrity="${integrity}" crossorigin="anonymous"`);
  const tab = await scene.open('/', {
    headers: { 'Content-Security-Policy': policy.join('; ') },
    snippet: STUB.replace('<script', '<script nonce="abc123"') + tag,
    body: `<form><button>Send</button></form><a href="${away}">Away</a>`,
  });
  await scene.rows(1, { type: 'pageview' });
  await tab.click('button');
  await tab.waitForURL('**/?');
  await tab.click('a');
  await tab.waitForURL(away);
  await scene.rows(1, { type: 'form_submit' });
  const clicks = await scene.rows(2, { type: 'click' });
  assert.equal(clicks.length, 2);
  const violations = scene.site.visited(scene.site.url('/violation')).map(({ body }) => body);
  // The page's own icon is against the policy, as everything else is that is not named there.
  assert.deepEqual(
    violations.filter((body) => !body.includes('"blocked-uri":"data"')),
    [],
  );
});

test('included twice it counts a page, a click and a call once', async (scene) => {
  const tab = await scene.open('/', {
    snippet: STUB + scene.tag() + STUB + scene.tag(),
    body: `<a href="mailto:sales@shop.test">Write</a><script>weir('early')</script>`,
  });
  await tab.click('a');
  await tab.evaluate(`weir('late')`);
  const rows = await scene.rows(4);
  assert.deepEqual(rows.map(({ type }) => type).sort(), ['click', 'early', 'late', 'pageview']);
});

test('included again later it counts nothing again', async (scene) => {
  const tab = await scene.open('/');
  await scene.rows(1);
  await tab.evaluate(
    ([src, key]) => {
      const script = Object.assign(document.createElement('script'), { src });
      script.dataset.projectKey = key;
      script.dataset.bots = 'true';
      return new Promise((resolve) => {
        script.onload = resolve;
        document.head.append(script);
      });
    },
    /** @type {const} */ ([`${scene.collectorUrl()}/weir.js`, scene.key]),
  );
  await tab.evaluate(`weir('marker')`);
  await scene.rows(2);
});

test('two projects on one page each get its page and its clicks', async (scene) => {
  const second = await scene.collector.project();
  const tab = await scene.open('/', {
    snippet: STUB + scene.tag() + scene.tag({ projectKey: second }),
    body: `<a href="mailto:sales@shop.test">Write</a><script>weir('early')</script>`,
  });
  await tab.click('a');
  await tab.evaluate(`weir('late')`);
  for (const key of [scene.key, second]) {
    const rows = await scene.rows(4, { key });
    assert.deepEqual(rows.map(({ type }) => type).sort(), ['click', 'early', 'late', 'pageview']);
  }
});

test('two projects under names of their own get only their own calls', async (scene) => {
  const second = await scene.collector.project();
  const stub = STUB.replaceAll('weir', 'other');
  const tab = await scene.open('/', {
    snippet: STUB + stub + scene.tag(SILENT) + scene.tag({ ...SILENT, projectKey: second, name: 'other' }),
    body: `<script>weir('early'); other('early-other')</script>`,
  });
  await tab.evaluate(`weir('late'); other('late-other')`);
  const types = async (/** @type {string} */ key) =>
    (await scene.rows(2, { key })).map(({ type }) => type).sort();
  assert.deepEqual(await types(scene.key), ['early', 'late']);
  assert.deepEqual(await types(second), ['early-other', 'late-other']);
});

test('a page gets one global, and its own are as they were', async (scene) => {
  // Everything that a page could see of another script: names, and the functions that it may call or replace.
  const look = `JSON.stringify([
    Object.getOwnPropertyNames(window).filter((name) => name !== 'weir').sort(),
    [history.pushState, history.replaceState, fetch, XMLHttpRequest.prototype.send, Element.prototype.attachShadow,
     EventTarget.prototype.addEventListener, HTMLFormElement.prototype.submit, navigator.sendBeacon,
     ...['onerror', 'onpagehide', 'onpopstate', 'onclick', 'onsubmit'].map((name) => window[name])].map(String),
    Object.getOwnPropertyNames(history), Object.getOwnPropertyNames(navigator), Object.getOwnPropertyNames(document),
  ])`;
  const bare = await scene.open('/bare', { snippet: '' });
  const tab = await scene.open('/', {});
  await scene.rows(1);
  assert.equal(await tab.evaluate(look), await bare.evaluate(look));
  assert.equal(await tab.evaluate(`typeof weir`), 'function');
  assert.equal(await bare.evaluate(`typeof weir`), 'undefined');
});

test('without the stub it works as well', async (scene) => {
  const tab = await scene.open('/', { snippet: scene.tag() });
  await tab.evaluate(`weir('signup')`);
  await scene.rows(2);
});

test('options may be given to init', async (scene) => {
  const url = scene.put('/', {
    snippet: `${STUB}<script async src="${scene.collectorUrl()}/weir.js"></script>`,
    body: `<a href="mailto:sales@shop.test">Write</a><script>
      weir('early');
      weir('init', {
        projectKey: '${scene.key}', bots: true, clicks: false, query: ['plan'],
        beforeSend: (event) => event.type !== 'dropped' && { ...event, data: { ...event.data, hooked: true } },
      });
    </script>`,
  });
  const tab = await scene.context.newPage();
  await tab.goto(`${url}?plan=pro&other=Gone`);
  await tab.click('a');
  await tab.evaluate(`weir('dropped'); weir('late', { n: 1 })`);
  const rows = await scene.rows(3);
  assert.deepEqual(rows.map(({ type }) => type).sort(), ['early', 'late', 'pageview']);
  for (const row of rows) {
    assert.equal(row.data.hooked, true);
    assert.ok(row.url.includes('plan=pro') && !row.url.includes('Gone'), row.url);
  }
});

test('the options of one init are not those of the next', async (scene) => {
  const second = await scene.collector.project();
  const tab = await scene.open('/', {
    snippet: `${STUB}<script async src="${scene.collectorUrl()}/weir.js" data-bots></script>`,
    body: `<script>
      weir('init', {
        projectKey: '${scene.key}', pageviews: false, storage: 'none',
        beforeSend: (event) => ({ ...event, data: { hooked: true } }),
      });
      weir('init', { projectKey: '${second}' });
    </script>`,
  });
  await tab.evaluate(`weir('marker')`);
  const [marker] = await scene.rows(1);
  assert.deepEqual([marker?.type, marker?.visitor, marker?.data], ['marker', '', { hooked: true }]);
  const rows = await scene.rows(2, { key: second });
  assert.deepEqual(rows.map(({ type }) => type).sort(), ['marker', 'pageview']);
  for (const { visitor, data } of rows) {
    assert.notEqual(visitor, '');
    assert.deepEqual(data, {});
  }
});

test('calls wait for an init that comes long after the script', async (scene) => {
  const snippet = `${STUB}<script async src="${scene.collectorUrl()}/weir.js"></script>`;
  const tab = await scene.open('/a', { snippet });
  await tab.evaluate(`weir('waiting', { n: 1 }); history.pushState({}, '', '/b')`);
  await tab.evaluate((key) => {
    /** @type {any} */ (window).weir('init', { projectKey: key, bots: true });
  }, scene.key);
  await tab.evaluate(`weir('init', { projectKey: '${scene.key}', bots: true })`);
  const rows = await scene.rows(2);
  const waiting = rows.find(({ type }) => type === 'waiting');
  assert.equal(waiting?.url, scene.site.url('/a'));
  assert.deepEqual(waiting?.data, { n: 1 });
});

test('beforeSend changes and drops events, and one that throws breaks nothing', async (scene) => {
  const tab = await scene.open('/', {
    options: { beforeSend: 'decide' },
    body: `<script>function decide(event) {
      if (event.type === 'broken') throw new Error('not ours');
      if (event.type === 'dropped') return null;
      event.data = { ...event.data, changed: event.type };
      return event;
    }</script>`,
  });
  await tab.evaluate(`weir('dropped'); weir('broken'); weir('kept')`);
  const rows = (await scene.rows(2)).map(({ type, data }) => [type, data.changed]);
  assert.deepEqual(rows.sort(), [
    ['kept', 'kept'],
    ['pageview', 'pageview'],
  ]);
});

test('identify, set and visitorId are on the rows that follow', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  await tab.evaluate(
    `weir('before'); weir('identify', 'user-7'); weir('set', { tier: 'gold' }); weir('after', { n: 1 })`,
  );
  const visitor = await tab.evaluate(`weir('visitorId')`);
  const rows = await scene.rows(2);
  const [before, after] = ['before', 'after'].map((type) => rows.find((row) => row.type === type));
  assert.equal(before?.user, '');
  assert.equal(after?.user, 'user-7');
  assert.deepEqual(after?.data, { tier: 'gold', n: 1 });
  assert.equal(after?.visitor, visitor);
  assert.equal(before?.visitor, visitor);
});

test('identify takes a number, and ends without an id', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  await tab.evaluate(`weir('identify', 42); weir('known'); weir('identify'); weir('unknown')`);
  const rows = await scene.rows(2);
  const users = Object.fromEntries(rows.map(({ type, user }) => [type, user]));
  assert.deepEqual(users, { known: '42', unknown: '' });
});

test('another endpoint is used if given', async (scene) => {
  const endpoint = `${scene.collectorUrl('events.test')}/api/events`;
  const tab = await scene.open('/', { options: { ...SILENT, endpoint } });
  await tab.evaluate(`weir('signup')`);
  await scene.rows(1);
  const hosts = scene.wire.posts(scene.key).map(({ headers }) => headers.host?.split(':')[0]);
  assert.deepEqual(hosts, ['events.test']);
});

test('an event of any shape is stored as it was given, or not at all, and never breaks the page', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  await tab.evaluate(`
    const circle = {}; circle.self = circle;
    weir('circle', circle); weir('big', { n: 1n }); weir('throws', { get it() { throw 1 } });
    weir(); weir(''); weir(null); weir('track'); weir('constructor', { n: 1 }); weir('__proto__', { n: 2 });
    weir('text', { text: 'ä€😀\\u0000"\\\\</script>', deep: { list: [1, [2, { three: null }]] } })`);
  const [row] = await scene.rows(1, { type: 'text' });
  assert.deepEqual(row?.data, { text: 'ä€😀\u0000"\\</script>', deep: { list: [1, [2, { three: null }]] } });
});

test('a page whose events nobody takes goes on undisturbed', async (scene) => {
  scene.wire.always = { status: 404 };
  const tab = await scene.open('/', {
    body: '<a href="#there">There</a><form onsubmit="return false"><button>Send</button></form>',
  });
  await tab.click('a');
  await tab.click('button');
  await tab.evaluate(`weir('signup')`);
  await scene.rows(0);
  assert.equal(await tab.evaluate(`location.hash`), '#there');
});
