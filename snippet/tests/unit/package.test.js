// The package as it is published.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';

test('importing the package does nothing and needs no browser', async () => {
  const names = Object.keys(globalThis);
  const published = await import('../../dist/index.js');
  assert.deepEqual(Object.keys(published), ['createTracker']);
  assert.deepEqual(Object.keys(globalThis), names);
});

test('what is published is what a site needs', () => {
  const packed = execFileSync('npm', ['pack', '--dry-run', '--json'], {
    encoding: 'utf8',
    cwd: new URL('../..', import.meta.url),
  });
  const names = JSON.parse(packed)[0]
    .files.map((/** @type {{path: string}} */ file) => file.path)
    .sort();
  assert.deepEqual(names, [
    'LICENSE',
    'README.md',
    'dist/api.d.ts',
    'dist/index.d.ts',
    'dist/index.js',
    'dist/weir.js',
    'dist/weir.js.br',
    'dist/weir.js.gz',
    'package.json',
  ]);
});
