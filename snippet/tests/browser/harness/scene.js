// What a test has at hand: a project, a browser with nothing in it, and the way to the rows.
//
// Everything is real: pages in Chromium send to a collector with its engine, and what is asserted on is the rows, or
// what came to the proxy between them; never what a page believes. `WEIR_BINARY` is another collector than
// target/debug/weir, `WEIR_SNIPPET` another script than the collector's own, `CHROMIUM` another browser than Debian's.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch, launchAlone } from './chromium.js';
import { Collector } from './collector.js';
import { eventually } from './eventually.js';
import { Site } from './site.js';
import { Wire } from './wire.js';

/** The line of the documentation, as it is. */
export const STUB =
  '<script>window.weir=window.weir||function(){(weir.q=weir.q||[]).push([+new Date,location.href,arguments])}</script>';

/** How long the wire must be quiet: longer where nothing at all is expected. */
const QUIET = 250;
const QUIET_FOR_NOTHING = 1_200;

/** @typedef {Record<string, string | boolean | undefined>} Options by name, in camel case */

/** One test's surroundings. */
export class Scene {
  /** @type {string[]} what went wrong in pages, as a page would see it */
  errors = [];
  /** @type {{ close(): Promise<void> }[]} */
  #alone = [];

  /**
   * @param {Collector} collector
   * @param {Wire} wire
   * @param {Site} site
   * @param {import('playwright-core').Browser} browser
   * @param {import('playwright-core').BrowserContext} context
   * @param {string} key
   */
  constructor(collector, wire, site, browser, context, key) {
    this.collector = collector;
    this.wire = wire;
    this.site = site;
    this.browser = browser;
    this.context = context;
    this.key = key;
    this.watch(context);
  }

  /** @param {import('playwright-core').BrowserContext} context */
  watch(context) {
    context.on('weberror', (error) => this.errors.push(String(error.error().stack)));
  }

  /** @param {string} [host] */
  collectorUrl(host = 'collect.test') {
    return `http://${host}:${this.wire.port}`;
  }

  /**
   * The snippet's tag: options become attributes; undefined ones are left out. The browser of the tests is
   * automated, so that automated ones are included unless a test says otherwise.
   * @param {Options} [options]
   * @param {string} [attributes] others
   */
  tag(options = {}, attributes = '') {
    const all = { projectKey: this.key, bots: 'true', ...options };
    const given = Object.entries(all).filter(([, value]) => value !== undefined);
    const data = given.map(
      ([name, value]) => `data-${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}="${value}"`,
    );
    return `<script async src="${this.collectorUrl()}/weir.js" ${data.join(' ')} ${attributes}></script>`;
  }

  /**
   * Puts a page with the snippet on a site; gives its URL.
   * @param {string} path
   * @param {import('./site.js').Page & { options?: Options, host?: string }} [page]
   */
  put(path, { options, host, ...page } = {}) {
    return this.site.put(path, { snippet: STUB + this.tag(options), ...page }, host);
  }

  /**
   * Opens a page with the snippet on it, which has loaded then.
   * @param {string} path with its query
   * @param {Parameters<Scene['put']>[1]} [page]
   */
  async open(path, page) {
    const url = this.put(path, page);
    const tab = await this.context.newPage();
    await tab.goto(url);
    return tab;
  }

  /**
   * Opens a URL in a browser that nobody leads, for as long as the test lasts.
   * @param {string} url
   */
  async openAlone(url) {
    this.#alone.push(await launchAlone(url));
  }

  async close() {
    await this.context.close();
    await Promise.all(this.#alone.map((browser) => browser.close()));
    this.#alone = [];
  }

  /**
   * Has the page itself go somewhere, as a script of its own would.
   * @param {import('playwright-core').Page} tab
   * @param {string} url
   */
  async go(tab, url) {
    await tab.evaluate((to) => {
      location.href = to;
    }, url);
  }

  /** Events as they were sent, copies included. @param {string} [key] */
  sent(key = this.key) {
    return this.wire.posts(key).flatMap(({ body }) => {
      const payload = JSON.parse(body);
      return /** @type {Record<string, any>[]} */ (payload.events ?? [payload]);
    });
  }

  /**
   * The events when all that is under way has come: as many of this type as expected, each of them once.
   * @param {number} count
   * @param {{ type?: string, key?: string }} [which] default: every type, of the test's own project
   */
  async rows(count, { type, key = this.key } = {}) {
    const find = async () =>
      (await this.collector.events(key)).filter((row) => type === undefined || row.type === type);
    // What came instead is the better message.
    await eventually(`${count} rows`, async () => (await find()).length >= count).catch(() => {});
    await this.wire.quiet(count === 0 ? QUIET_FOR_NOTHING : QUIET);
    await this.collector.settle(key);
    const rows = await find();
    const found = rows.map((row) => `${row.type} ${row.url} ${JSON.stringify(row.data)}`);
    assert.equal(rows.length, count, `expected ${count} rows, found ${rows.length}:\n${found.join('\n')}`);
    return rows;
  }
}

/**
 * Brings up what the tests of a file share, and gives the function that defines one.
 * @returns {(sentence: string, body: (scene: Scene) => Promise<void>) => void}
 */
export function scenes() {
  /** @type {Collector} */
  let collector;
  /** @type {Wire} */
  let wire;
  /** @type {Site} */
  let site;
  /** @type {import('playwright-core').Browser} */
  let browser;

  before(async () => {
    collector = await Collector.start();
    [wire, site, browser] = await Promise.all([
      new Wire(collector.origin).start(),
      new Site().start(),
      launch(),
    ]);
    await wire.script();
  });

  after(async () => {
    await browser?.close();
    wire?.stop();
    site?.stop();
    await collector?.stop();
    holdToContract(wire?.all ?? []);
  });

  return (sentence, body) =>
    void test(sentence, { timeout: 60_000 }, async () => {
      wire.behave();
      site.clear();
      const [key, context] = await Promise.all([collector.project(), browser.newContext()]);
      const scene = new Scene(collector, wire, site, browser, context, key);
      try {
        await body(scene);
      } finally {
        await scene.close();
      }
      assert.deepEqual(scene.errors, [], 'a page must never see an exception of ours');
    });
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
/** How long a request may take from the page to here when the machine is busy, in milliseconds. */
const ON_THE_WAY = 10_000;

/**
 * What every request of every test must be, whatever else it was about.
 * @param {import('./wire.js').Sent[]} all
 */
function holdToContract(all) {
  assert.deepEqual(
    all.filter(({ method }) => method === 'OPTIONS'),
    [],
    'a preflight costs events',
  );
  for (const { at, body, headers, path } of all.filter(({ method }) => method === 'POST')) {
    assert.equal(path, '/api/events');
    assert.match(headers['content-type'] ?? 'text/plain', /^text\/plain/);
    const { source, sentAt, events } = JSON.parse(body);
    assert.equal(source, 'snippet', body);
    assert.ok(
      Math.abs(at - Date.parse(sentAt)) < ON_THE_WAY,
      `sent at ${sentAt}, here at ${new Date(at).toISOString()}`,
    );
    assert.ok(events.length > 0, body);
    for (const { type, url, timestamp, eventId } of events) {
      assert.ok(type.length > 0 && URL.canParse(url), body);
      assert.match(eventId, UUID);
      assert.ok(Date.parse(timestamp) <= Date.parse(sentAt), `${timestamp} is before ${sentAt}`);
    }
  }
}
