// Every event reaches the table, and once, whatever the network, the collector and the visitor do.

import assert from 'node:assert/strict';

import { gate } from './harness/eventually.js';
import { STUB, scenes } from './harness/scene.js';

const test = scenes();

/** Nothing but what a test itself sends. */
const SILENT = { pageviews: 'false', clicks: 'false', forms: 'false' };
/** Bytes that may be in flight while a page ends. */
const QUOTA = 65_536;

/** @typedef {import('./harness/scene.js').Scene} Scene */

/**
 * The events' ids on the wire, and the times at which they were sent by the page's clock.
 * @param {Scene} scene
 */
function attempts(scene) {
  return scene.wire.posts(scene.key).map(({ body, at, headers }) => {
    const payload = JSON.parse(body);
    const events = /** @type {Record<string, any>[]} */ (payload.events ?? [payload]);
    return {
      at,
      headers,
      body,
      sentAt: Date.parse(payload.sentAt),
      ids: events.map(({ eventId }) => eventId),
    };
  });
}

test('a click on a link that leads away arrives though the collector is slow', async (scene) => {
  const away = scene.site.put('/away', {}, 'other.test');
  const tab = await scene.open('/', { body: `<a href="${away}">Away</a>` });
  await scene.rows(1);
  scene.wire.always = { delay: 2_000 };
  await tab.click('a');
  await tab.waitForURL(away);
  const rows = await scene.rows(1, { type: 'click' });
  assert.equal(rows[0]?.url, scene.site.url('/'));
});

test('events right before the page is left arrive though every request before them is still unanswered', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  scene.put('/next', { options: SILENT });
  const answer = gate();
  scene.wire.always = { hold: answer.opened };
  await tab.evaluate(`weir('first'); void weir('flush')`);
  await scene.wire.awaitPosts(scene.key, 1);
  await tab.evaluate(`weir('second'); location.href = '/next'`);
  await tab.waitForURL('**/next');
  answer.open();
  const rows = await scene.rows(2);
  assert.deepEqual(rows.map(({ type }) => type).sort(), ['first', 'second']);
});

test('an event right before its tab is closed arrives', async (scene) => {
  const url = scene.put('/popup', { options: SILENT });
  const opener = await scene.open('/', { snippet: '' });
  const [popup] = await Promise.all([
    scene.context.waitForEvent('page'),
    opener.evaluate((to) => void open(to), url),
  ]);
  await popup.waitForLoadState();
  await Promise.all([
    popup.waitForEvent('close'),
    popup.evaluate(`weir('last', { of: 'tab' }); window.close()`),
  ]);
  const rows = await scene.rows(1);
  assert.deepEqual(rows[0]?.data, { of: 'tab' });
});

/**
 * A page that is left for another site, which has no snippet, with a request unanswered and an event behind it.
 * @param {Scene} scene
 */
async function leaveInTheMiddle(scene) {
  const tab = await scene.open('/', { options: SILENT });
  const away = scene.site.put('/away', {}, 'other.test');
  const answer = gate();
  scene.wire.next = [{ hold: answer.opened }];
  await tab.evaluate(`weir('first'); void weir('flush')`);
  await scene.wire.awaitPosts(scene.key, 1);
  await tab.evaluate(`weir('second'); location.href = '${away}'`);
  await tab.waitForURL(away);
  answer.open();
}

test('events arrive from a page that is left for good while a request is unanswered', async (scene) => {
  await leaveInTheMiddle(scene);
  await scene.rows(2);
});

for (const [what, script] of [
  ['are refused', 'Navigator.prototype.sendBeacon = () => false'],
  ['have been taken out of the browser', 'delete Navigator.prototype.sendBeacon'],
]) {
  test(`events arrive from a page that is left for good where beacons ${what}`, async (scene) => {
    await scene.context.addInitScript(/** @type {string} */ (script));
    await leaveInTheMiddle(scene);
    await scene.rows(2);
  });
}

test('events that a beacon swallowed arrive on the next visit', async (scene) => {
  await scene.context.addInitScript(`Navigator.prototype.sendBeacon = () => true`);
  await leaveInTheMiddle(scene);
  await scene.open('/next', { options: SILENT });
  await scene.rows(2);
});

test('events that gather while a request is under way travel as one batch', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  const answer = gate();
  scene.wire.next = [{ hold: answer.opened }];
  await tab.evaluate(`weir('first'); void weir('flush')`);
  await scene.wire.awaitPosts(scene.key, 1);
  await tab.evaluate(`for (let n = 0; n < 20; n++) weir('next', { n })`);
  answer.open();
  await scene.rows(21);
  const [first, second, ...others] = attempts(scene);
  assert.deepEqual([first?.ids.length, second?.ids.length, others.length], [1, 20, 0]);
  assert.equal(JSON.parse(second?.body ?? '').source, 'snippet');
});

test('requests need no preflight and carry no credentials while the page is visible', async (scene) => {
  await scene.context.addCookies([
    { name: 'session', value: 'secret', url: scene.collectorUrl('collect.example.test') },
  ]);
  const tag = scene.tag({ ...SILENT, endpoint: `${scene.collectorUrl('collect.example.test')}/api/events` });
  // The same site as the collector, whose cookies would come along if a request let them.
  const tab = await scene.open('/', { host: 'www.example.test', snippet: STUB + tag });
  await tab.evaluate(`weir('seen')`);
  await scene.rows(1);
  const [{ headers } = assert.fail('nothing was sent')] = attempts(scene);
  assert.equal(headers.host, new URL(scene.collectorUrl('collect.example.test')).host);
  assert.match(headers['content-type'] ?? 'none', /^(text\/plain|none)/);
  assert.equal(headers.cookie, undefined);
  assert.deepEqual(
    scene.wire.all.filter(({ method }) => method === 'OPTIONS'),
    [],
  );
});

/** @type {[string, import('./harness/wire.js').Behaviour][]} */
const FAILURES = [
  ['is answered 503', { status: 503 }],
  ['is answered 503 by something that knows no CORS', { status: 503, cors: false }],
  ['is answered 500', { status: 500 }],
  ['is answered 408', { status: 408 }],
  ['is cut off before it arrives', { cut: 'before' }],
  ['is cut off before its answer arrives', { cut: 'after' }],
  ['is stored but answered without CORS headers', { cors: false }],
];

for (const [what, behaviour] of FAILURES) {
  test(`an event whose request ${what} is sent again, and stored once`, async (scene) => {
    const tab = await scene.open('/', { options: SILENT });
    scene.wire.next = [behaviour];
    await tab.evaluate(`weir('signup', { plan: 'pro' })`);
    await scene.wire.awaitPosts(scene.key, 2);
    const [row] = await scene.rows(1);
    assert.deepEqual(row?.data, { plan: 'pro' });
    const sent = attempts(scene);
    assert.equal(new Set(sent.flatMap(({ ids }) => ids)).size, 1, 'it keeps its id');
    assert.equal(sent[0]?.ids[0], row?.id);
    const times = sent.map(({ sentAt }) => sentAt);
    assert.ok((times.at(-1) ?? 0) > (times[0] ?? NaN), 'sentAt is the time of each attempt');
  });
}

for (const status of [429, 503]) {
  test(`Retry-After of a ${status} is waited for`, async (scene) => {
    const tab = await scene.open('/', { options: SILENT });
    scene.wire.next = [{ status, headers: { 'Retry-After': '3' } }];
    await tab.evaluate(`weir('signup')`);
    await scene.wire.awaitPosts(scene.key, 2);
    await scene.rows(1);
    const [first, second] = attempts(scene);
    const waited = (second?.at ?? 0) - (first?.at ?? 0);
    assert.ok(waited >= 2_900, `it was sent again after ${waited} ms`);
  });
}

test('Retry-After is waited for whatever brings the page back to its work', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  scene.wire.next = [{ status: 429, headers: { 'Retry-After': '3' } }];
  await tab.evaluate(`weir('signup')`);
  await scene.wire.awaitPosts(scene.key, 1);
  await scene.wire.quiet(300);
  await tab.evaluate(`
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
    dispatchEvent(new Event('online'));
    weir('second'); void weir('flush')`);
  await scene.rows(2);
  const [first, second] = attempts(scene);
  const waited = (second?.at ?? 0) - (first?.at ?? 0);
  assert.ok(waited >= 2_900, `it was sent again after ${waited} ms`);
});

for (const value of ['-1', 'soon']) {
  test(`an event whose Retry-After is ${value} is not dropped`, async (scene) => {
    const tab = await scene.open('/', { options: SILENT });
    scene.wire.next = [{ status: 503, headers: { 'Retry-After': value } }];
    await tab.evaluate(`weir('signup')`);
    await scene.wire.awaitPosts(scene.key, 1);
    await scene.wire.quiet(300);
    scene.put('/next', { options: SILENT });
    await tab.goto(scene.site.url('/next'));
    await scene.rows(1);
  });
}

test('a page that breaks what requests are made of sees nothing of it, and its event arrives', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  await tab.evaluate(`
    weir('signup');
    const { toJSON } = Date.prototype;
    Date.prototype.toJSON = () => { throw new Error('not ours') };
    setTimeout(() => { Date.prototype.toJSON = toJSON }, 300)`);
  await scene.rows(1);
});

for (const status of [400, 401, 403, 413]) {
  test(`an event that is refused for good with ${status} does not hold up those behind it`, async (scene) => {
    const tab = await scene.open('/', { options: SILENT });
    scene.wire.next = [{ status }];
    await tab.evaluate(`weir('refused'); void weir('flush')`);
    await scene.wire.awaitPosts(scene.key, 1);
    await tab.evaluate(`weir('next')`);
    const rows = await scene.rows(1);
    assert.equal(rows[0]?.type, 'next');
  });
}

test('events of a page without network arrive when it is online again', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  await scene.context.setOffline(true);
  await tab.evaluate(`weir('one'); weir('two')`);
  await scene.wire.quiet(500);
  assert.equal(scene.wire.posts(scene.key).length, 0);
  await scene.context.setOffline(false);
  await scene.rows(2);
});

test('events of a page without network outlive a reload', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  await scene.context.setOffline(true);
  // The tool's offline lets a beacon of a page that ends through.
  scene.wire.always = { cut: 'before' };
  await tab.evaluate(`weir('one'); weir('two', { n: 2 })`);
  const before = Date.now();
  await assert.rejects(tab.reload(), /ERR_INTERNET_DISCONNECTED/);
  scene.wire.behave();
  await scene.context.setOffline(false);
  await tab.goto(scene.site.url('/'));
  const rows = await scene.rows(2);
  assert.deepEqual(rows.map(({ type }) => type).sort(), ['one', 'two']);
  for (const row of rows) {
    assert.ok(row.at <= before, 'it keeps its time');
    assert.equal(row.url, scene.site.url('/'), 'it keeps its url');
  }
});

test('events that the collector never answered go out on the next page', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  scene.wire.always = { status: 503, headers: { 'Retry-After': '60' } };
  await tab.evaluate(`weir('one'); weir('two')`);
  await scene.wire.awaitPosts(scene.key, 1);
  scene.put('/next', { options: SILENT });
  await tab.goto(scene.site.url('/next'));
  await scene.wire.quiet(300);
  scene.wire.behave();
  await tab.close();
  await scene.open('/third', { options: SILENT });
  await scene.rows(2);
});

test('a burst of 200 KB right before the page is left arrives whole, each event once', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  scene.put('/next', { options: SILENT });
  await tab.evaluate(`
    for (let n = 0; n < 200; n++) weir('burst', { n, text: 'ä'.repeat(500) });
    location.href = '/next'`);
  await tab.waitForURL('**/next');
  const rows = await scene.rows(200);
  const numbers = rows.map(({ data }) => Number(data.n)).sort((a, b) => a - b);
  assert.deepEqual(
    numbers,
    Array.from({ length: 200 }, (_, n) => n),
  );
  for (const { body } of attempts(scene)) {
    assert.ok(
      Buffer.byteLength(body) < QUOTA,
      `a request of ${Buffer.byteLength(body)} bytes cannot outlive its page`,
    );
  }
});

test('200 KB on a page that stays arrive whole, in requests under the quota', async (scene) => {
  const tab = await scene.open('/', { options: SILENT });
  await tab.evaluate(`for (let n = 0; n < 200; n++) weir('burst', { n, text: '€'.repeat(340) })`);
  await scene.rows(200);
  const sizes = attempts(scene).map(({ body }) => Buffer.byteLength(body));
  assert.ok(Math.max(...sizes) < QUOTA, `sizes are ${sizes}`);
  assert.equal(attempts(scene).flatMap(({ ids }) => ids).length, 200, 'nothing was sent twice');
});
