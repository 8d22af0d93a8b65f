// Debian's Chromium, led by playwright or left alone.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
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
  const alone = ['--headless=new', '--disable-gpu', '--disable-popup-blocking', `--user-data-dir=${profile}`];
  const child = spawn(EXECUTABLE, [...FLAGS, ...alone, url], { stdio: 'ignore' });
  const kill = () => void child.kill('SIGKILL');
  process.once('exit', kill);
  await once(child, 'spawn');
  return {
    async close() {
      process.off('exit', kill);
      if (child.exitCode === null) {
        kill();
        await once(child, 'exit');
      }
      // Processes of its own may still be writing their last.
      await rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
}
