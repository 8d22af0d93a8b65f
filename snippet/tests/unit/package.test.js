// The package as it is published.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

test('importing the package does nothing and needs no browser', async () => {
  const names = Object.keys(globalThis);
  const published = await import('../../dist/index.js');
  assert.deepEqual(Object.keys(published), ['createTracker']);
  assert.deepEqual(Object.keys(globalThis), names);
});

test('a bundler keeps the script of the tag where it is imported, and drops the package where it is not used', async () => {
  /** @param {string} contents */
  const bundled = async (contents) => {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: fileURLToPath(new URL('../..', import.meta.url)) },
      bundle: true,
      write: false,
      minify: true,
      logLevel: 'silent',
    });
    return outputFiles[0]?.text ?? '';
  };
  assert.ok((await bundled(`import '@weir/snippet/weir.js'`)).includes('data-track'));
  assert.ok(!(await bundled(`import { createTracker } from '@weir/snippet'`)).includes('data-track'));
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
