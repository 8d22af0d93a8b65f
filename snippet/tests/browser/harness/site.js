// The websites: any host that ends in `.test` leads here, each with the pages that a test has put there.

import { once } from 'node:events';
import { createServer } from 'node:http';

import { gate } from './eventually.js';

/**
 * @typedef {object} Page
 * @property {string} [body] HTML
 * @property {string} [head] HTML that comes after the snippet
 * @property {string} [snippet] HTML of the snippet, the stub and the tag
 * @property {Record<string, string>} [headers]
 * @property {number} [status]
 */

/**
 * @typedef {object} Visit
 * @property {string} method
 * @property {string} url with host
 * @property {import('node:http').IncomingHttpHeaders} headers
 * @property {string} body
 */

export class Site {
  /** @type {Visit[]} what browsers asked for, since the last clear() */
  visits = [];
  /** @type {Map<string, Page>} by `host/path` */
  #pages = new Map();
  /** @type {Map<string, Promise<unknown>>} */
  #gates = new Map();
  #server = createServer((request, response) => {
    // A browser that goes away in the middle is no failure of a test.
    this.#answer(request, response).catch(() => response.destroy());
  });

  async start() {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  get port() {
    return /** @type {import('node:net').AddressInfo} */ (this.#server.address()).port;
  }

  /**
   * @param {string} path with its query
   * @param {string} [host]
   */
  url(path, host = 'shop.test') {
    return `http://${host}:${this.port}${path}`;
  }

  /**
   * Puts a page there; gives its URL.
   * @param {string} path
   * @param {Page} page
   * @param {string} [host]
   */
  put(path, page, host) {
    const url = this.url(path, host);
    this.#pages.set(address(url), page);
    return url;
  }

  /**
   * What is asked for at this path is answered when the gate opens: how a test leads pages that it cannot reach.
   * @param {string} path
   */
  gate(path) {
    const { opened, open } = gate();
    this.#gates.set(path, opened);
    return { open };
  }

  /** @param {string} url */
  visited(url) {
    return this.visits.filter((visit) => visit.url === url);
  }

  clear() {
    this.visits = [];
    this.#pages.clear();
    this.#gates.clear();
  }

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  async #answer(request, response) {
    const body = Buffer.concat(await request.toArray()).toString();
    const url = `http://${request.headers.host}${request.url}`;
    this.visits.push({ method: request.method ?? '', url, headers: request.headers, body });
    await this.#gates.get(new URL(url).pathname);
    const page = this.#pages.get(address(url));
    const headers = { 'Content-Type': 'text/html; charset=utf-8', ...page?.headers };
    response.writeHead(page?.status ?? 200, headers).end(html(page ?? {}));
  }
}

/** Without the query: pages are told apart by host and path. @param {string} url */
const address = (url) => new URL(url).host + new URL(url).pathname;

/** @param {Page} page */
function html({ body = '', head = '', snippet = '' }) {
  // An icon that is there spares a request.
  const icon = '<link rel="icon" href="data:,">';
  return `<!doctype html><html lang="en"><head><title>Test</title>${icon}${snippet}${head}</head><body>${body}</body></html>`;
}
