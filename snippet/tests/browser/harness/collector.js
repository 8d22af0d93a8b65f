// A real collector with the real embedded engine, as a process of its own.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { eventually } from './eventually.js';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const BINARY = process.env.WEIR_BINARY ?? join(ROOT, 'target/debug/weir');

/**
 * An event as ClickHouse has it.
 * @typedef {object} Row
 * @property {string} id
 * @property {string} source
 * @property {string} type
 * @property {string} visitor
 * @property {string} user
 * @property {string} url
 * @property {string} referrer
 * @property {Record<string, unknown>} data
 * @property {number} at milliseconds since 1970, as the page said
 */

/** A type that no page sends; see {@link Collector.settle}. */
const LAST = 'last of the test';

export class Collector {
  /**
   * Starts one; resolves when it serves.
   * @param {string[]} [more] arguments of a test's own
   */
  static async start(more = []) {
    const data = await mkdtemp(join(tmpdir(), 'weir-browser-'));
    const store = ['--data-dir', data, '--engine-port', String(await freePort())];
    // One segment is loaded after the other, so that a row tells that all earlier ones have come.
    const settings = ['--segment-age', '100ms', '--load-concurrency', '1'];
    const listen = ['--listen', '127.0.0.1:0', '--ops-listen', '127.0.0.1:0'];
    const child = spawn(BINARY, ['serve', ...store, ...settings, ...listen, ...more], {
      cwd: ROOT,
      env: environment(),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const collector = new Collector(child, data, store);
    await collector.#serving();
    return collector;
  }

  #child;
  #data;
  #store;
  #log = '';
  /** Origin of the public listener. */
  origin = '';
  /** Origin of the operations listener. */
  operations = '';

  /**
   * @param {import('node:child_process').ChildProcess} child
   * @param {string} data
   * @param {string[]} store the arguments that tell other commands of the same store
   */
  constructor(child, data, store) {
    this.#child = child;
    this.#data = data;
    this.#store = store;
    process.once('exit', () => child.kill('SIGKILL'));
    child.on('error', (error) => {
      this.#log += `${BINARY}: ${error.message}\n`;
    });
    child.stderr?.setEncoding('utf8').on('data', (text) => {
      this.#log += text;
    });
  }

  async #serving() {
    const line = await eventually(
      'a collector that serves',
      () => {
        if (this.#child.exitCode !== null) throw new Error(`the collector ended:\n${this.#log}`);
        return this.#log.split('\n').find((line) => line.includes('"message":"serving"'));
      },
      60_000,
    );
    const { listen, operations } = JSON.parse(line);
    this.origin = `http://${listen}`;
    this.operations = `http://${operations}`;
    // The tables are made beside the serving.
    await eventually(
      'the tables',
      () => this.sql('SELECT 1 FROM weir.events LIMIT 0').catch(() => false),
      60_000,
    );
  }

  /**
   * Makes a project, and gives its public key.
   * @param {string} [given] the key, if it has to be a certain one
   */
  async project(given) {
    const name = `test-${randomUUID().slice(0, 13)}`;
    const key = given ?? `pk_${name}`;
    await promisify(execFile)(BINARY, ['project', 'create', name, '--key', key, ...this.#store], {
      cwd: ROOT,
      env: environment(),
    });
    return key;
  }

  /**
   * Asks ClickHouse; gives the rows.
   * @param {string} query
   * @returns {Promise<Record<string, any>[]>}
   */
  async sql(query) {
    const port = this.#store[3];
    const answer = await fetch(`http://127.0.0.1:${port}/`, {
      method: 'POST',
      body: `${query} FORMAT JSONEachRow`,
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${query}: ${text}`);
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  }

  /**
   * The events of a project in the order in which they happened, every copy of each.
   * @param {string} key
   * @returns {Promise<Row[]>}
   */
  async events(key) {
    const rows = await this.sql(
      `SELECT toString(event_id) AS id, source, type, visitor_id AS visitor, user_id AS user, url, referrer, data,
         toUnixTimestamp64Milli(timestamp) AS at
       FROM weir.events
       WHERE project_id IN (SELECT project_id FROM weir.project_keys WHERE key = '${key}') AND type != '${LAST}'
       ORDER BY timestamp, event_id`,
    );
    return rows.map((row) => /** @type {Row} */ ({ ...row, data: JSON.parse(row.data), at: Number(row.at) }));
  }

  /**
   * Returns when everything that the collector has received for a project is in the table.
   * @param {string} key
   */
  async settle(key) {
    const id = randomUUID();
    const last = { type: LAST, visitorId: 'v', projectKey: key, url: 'https://last.test/', eventId: id };
    const answer = await fetch(`${this.origin}/api/events`, { method: 'POST', body: JSON.stringify(last) });
    assert.equal(answer.status, 200, await answer.text());
    await eventually('the last row', async () => {
      const [found] = await this.sql(`SELECT count() AS n FROM weir.events WHERE event_id = '${id}'`);
      return Number(found?.n) > 0;
    });
  }

  /** Stops it; what it had stored is gone then. */
  async stop() {
    if (this.#child.exitCode === null) {
      this.#child.kill('SIGTERM');
      await once(this.#child, 'exit');
    }
    await rm(this.#data, { recursive: true, force: true });
  }
}

/** Nothing of the machine's own settings. */
function environment() {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('WEIR_'));
  // Nor the `weir.toml` that somebody may have in the checkout.
  const ours = { WEIR_CONFIG: '/dev/null', WEIR_LOG_FORMAT: 'json', WEIR_SHUTDOWN_TIMEOUT: '2s' };
  return { ...Object.fromEntries(own), ...ours };
}

/** @returns {Promise<number>} */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  server.close();
  return port;
}
