// Debian's Chromium, led by playwright or left alone.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const EXECUTABLE = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--host-resolver-rules=MAP *.test 127.0.0.1',
];

/** A browser that tests lead. */
export function launch() {
  return chromium.launch({
    executablePath: EXECUTABLE,
    args: FLAGS,
    // People's browsers keep pages for the way back.
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
  });
}

/**
 * A browser without devtools, which refuse prerendering, and have every page believe that it is seen.
 * @param {string} url
 */
export async function launchAlone(url) {
  const profile = await mkdtemp(join(tmpdir(), 'weir-chromium-'));
  const flags = [...FLAGS, '--headless=new', '--disable-gpu', '--disable-popup-blocking', `--user-data-dir=${profile}`];
  // A group of its own: the process that is started here need not be the one that is Chromium.
  const child = spawn(EXECUTABLE, [...flags, url], { stdio: 'ignore', detached: true });
  await once(child, 'spawn');
  return {
    async close() {
      if (child.exitCode === null && child.pid !== undefined) {
        process.kill(-child.pid, 'SIGKILL');
        await once(child, 'exit');
      }
      await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}
