// What stands between the browser and the collector: it writes everything down, and misbehaves on demand.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { Agent, request as ask, createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

import { eventually, pause } from './eventually.js';

const BUILT = fileURLToPath(new URL('../../../dist/weir.js', import.meta.url));

/**
 * What becomes of a request: the fields are taken in this order, and `{}` is passed on and answered.
 * @typedef {object} Behaviour
 * @property {Promise<unknown>} [hold] wait for this first
 * @property {'before' | 'after'} [cut] break the connection, before the collector gets it or after it has answered
 * @property {number} [status] answer this instead of asking the collector
 * @property {Record<string, string>} [headers] of that answer
 * @property {boolean} [cors] false: the answer lacks the headers without which a page cannot read it
 * @property {number} [delay] milliseconds that the answer takes
 */

/**
 * @typedef {object} Sent
 * @property {number} at milliseconds since 1970
 * @property {string} method
 * @property {string} path
 * @property {import('node:http').IncomingHttpHeaders} headers
 * @property {string} body
 */

export class Wire {
  /** @type {Sent[]} everything since the beginning of the suite */
  all = [];
  /** @type {Behaviour[]} for the next posts, one each */
  next = [];
  /** @type {Behaviour} for all others */
  always = {};
  /** @type {Promise<unknown> | undefined} the script is answered after this */
  holdScript;

  #server = createServer((request, response) => void this.#answer(request, response));
  #agent = new Agent({ keepAlive: true });
  #collector;
  #other = process.env.WEIR_SNIPPET;
  #open = 0;
  #last = 0;

  /** @param {string} collector its origin */
  constructor(collector) {
    this.#collector = new URL(collector);
  }

  async start() {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  /** For URLs like `http://collect.test:PORT`. */
  get port() {
    return /** @type {import('node:net').AddressInfo} */ (this.#server.address()).port;
  }

  /** Behaves well from now on. */
  behave() {
    this.next = [];
    this.always = {};
    this.holdScript = undefined;
  }

  /**
   * Events sent for a project, the oldest first.
   * @param {string} key
   */
  posts(key) {
    return this.all.filter(({ method, body }) => method === 'POST' && body.includes(key));
  }

  /**
   * Waits until this many posts have come for a project.
   * @param {string} key
   * @param {number} count
   */
  awaitPosts(key, count) {
    return eventually(`${count} posts`, () => {
      const posts = this.posts(key);
      return posts.length >= count && posts;
    });
  }

  /**
   * Waits until nothing is under way, and nothing new has come for this long.
   * @param {number} milliseconds
   */
  async quiet(milliseconds) {
    this.#last = Date.now();
    await eventually('quiet', () => this.#open === 0 && Date.now() - this.#last >= milliseconds, 30_000);
  }

  /** The script that pages get: the collector's own, which is the one that was built, unless the environment has another. */
  async script() {
    const built = await readFile(this.#other ?? BUILT);
    if (this.#other !== undefined) return built;
    const answer = await fetch(new URL('/weir.js', this.#collector));
    const served = Buffer.from(await answer.arrayBuffer());
    assert.ok(served.equals(built), 'the collector serves another script than dist/weir.js: build it anew');
    return served;
  }

  stop() {
    this.#agent.destroy();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  async #answer(request, response) {
    this.#open += 1;
    this.#last = Date.now();
    try {
      const body = Buffer.concat(await request.toArray());
      const { method = '', url: path = '', headers } = request;
      const sent = { at: Date.now(), method, path, headers, body: body.toString() };
      this.all.push(sent);
      if (path === '/weir.js') await this.holdScript;
      if (path === '/weir.js' && this.#other !== undefined) {
        // As the collector answers: a page with `crossorigin`, which an integrity needs, may read it.
        const readable = { 'Content-Type': 'text/javascript', 'Access-Control-Allow-Origin': '*' };
        response.writeHead(200, readable).end(await readFile(this.#other));
      } else if (method === 'POST') await this.#post(sent, body, response);
      else await this.#forward(sent, body, response, {});
    } catch {
      // The browser or the collector has gone away.
      response.destroy();
    } finally {
      this.#open -= 1;
      this.#last = Date.now();
    }
  }

  /**
   * @param {Sent} sent
   * @param {Buffer} body
   * @param {import('node:http').ServerResponse} response
   */
  async #post(sent, body, response) {
    const behaviour = this.next.shift() ?? this.always;
    await behaviour.hold;
    if (behaviour.cut === 'before') {
      response.destroy();
    } else if (behaviour.status !== undefined) {
      const origin = sent.headers.origin ?? '*';
      const cors = { 'Access-Control-Allow-Origin': origin, 'Access-Control-Allow-Credentials': 'true' };
      const exposed = { 'Access-Control-Expose-Headers': 'Retry-After' };
      const readable = behaviour.cors === false ? {} : { ...cors, ...exposed };
      response
        .writeHead(behaviour.status, { ...readable, ...behaviour.headers })
        .end('{"error":{"code":"test"}}');
    } else {
      await this.#forward(sent, body, response, behaviour);
    }
  }

  /**
   * @param {Sent} sent
   * @param {Buffer} body
   * @param {import('node:http').ServerResponse} response
   * @param {Behaviour} behaviour
   */
  async #forward({ method, path, headers }, body, response, behaviour) {
    const { hostname, port } = this.#collector;
    const onward = ask({ hostname, port, method, path, headers, agent: this.#agent }).end(body);
    const [answer] = /** @type {[import('node:http').IncomingMessage]} */ (await once(onward, 'response'));
    const text = Buffer.concat(await answer.toArray());
    if (behaviour.cut === 'after') {
      response.destroy();
      return;
    }
    await pause(behaviour.delay ?? 0);
    const unreadable = (/** @type {string} */ name) =>
      behaviour.cors === false && name.startsWith('access-control-');
    const kept = Object.entries(answer.headers).filter(([name]) => !unreadable(name));
    response.writeHead(answer.statusCode ?? 500, Object.fromEntries(kept)).end(text);
  }
}
