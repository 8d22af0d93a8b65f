// Builds dist/ from src/; with --check, fails unless dist/ is what it would build, and within its size.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync, brotliDecompressSync, constants, gunzipSync, gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { minify } from 'terser';

const GZIP_BYTES = 3250;
const BROTLI_BYTES = 2900;

const here = import.meta.dirname;
const target = 'es2020';

/**
 * The script tag's file: one function, its names as short as they can be. What each tool does alone is 2 % longer. The
 * options were searched for: those that are off make code that is shorter and compresses worse. So was the order of the
 * words in src/ where it does not matter: lists of names, of attributes, of options.
 */
async function script() {
  const bundled = await bundle('src/script.ts', 'iife', { minifySyntax: true, minifyWhitespace: true });
  const { code } = await minify(bundled, {
    ecma: 2020,
    toplevel: true,
    compress: {
      ...{ booleans: false, collapse_vars: false, comparisons: false, computed_props: false },
      ...{ conditionals: false, hoist_funs: false, join_vars: false, loops: false },
      ...{ negate_iife: false, properties: false, side_effects: false },
      hoist_vars: true,
      inline: 1,
      lhs_constants: true,
      passes: 2,
      pure_getters: true,
      unsafe: true,
      unsafe_arrows: true,
      unsafe_methods: true,
    },
    // The queue's, which nobody else calls.
    mangle: { properties: { regex: /^leave$/ } },
    format: { comments: false },
  });
  return code;
}

async function bundle(entry, format, more) {
  const options = {
    entryPoints: [join(here, entry)],
    bundle: true,
    format,
    target,
    write: false,
    charset: 'utf8',
    tsconfigRaw: {},
    ...more,
  };
  const { outputFiles } = await build(options);
  return outputFiles[0].text;
}

/** The package's types: what the public files declare. */
function types() {
  const folder = mkdtempSync(join(tmpdir(), 'weir-types-'));
  try {
    const tsc = join(here, 'node_modules/typescript/bin/tsc');
    const emit = ['--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--outDir', folder];
    execFileSync(process.execPath, [tsc, '--project', here, ...emit]);
    return Object.fromEntries(
      ['index.d.ts', 'api.d.ts'].map((name) => [name, readFileSync(join(folder, name), 'utf8')]),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const gzip = (text) => gzipSync(text, { level: 9 });
const brotli = (text) =>
  brotliCompressSync(text, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_LGWIN]: 16,
      [constants.BROTLI_PARAM_SIZE_HINT]: text.length,
    },
  });

const weir = await script();
const files = { 'weir.js': weir, 'index.js': await bundle('src/index.ts', 'esm'), ...types() };
const sizes = {
  'gzip -9': [gzip(weir).length, GZIP_BYTES],
  'brotli 11': [brotli(weir).length, BROTLI_BYTES],
};
const path = (name) => join(here, 'dist', name);
const wrong = [];

for (const [name, [bytes, limit]] of Object.entries(sizes)) {
  console.log(`weir.js: ${bytes} bytes with ${name}, of ${limit}`);
  if (bytes > limit) wrong.push(`weir.js has ${bytes} bytes with ${name}; the limit is ${limit}`);
}
if (process.argv.includes('--check')) {
  for (const [name, text] of Object.entries(files))
    if (readFileSync(path(name), 'utf8') !== text)
      wrong.push(`dist/${name} is not what src/ makes; run npm run build`);
  // Another zlib may compress otherwise: what counts is what comes out.
  if (gunzipSync(readFileSync(path('weir.js.gz'))).toString() !== weir)
    wrong.push('dist/weir.js.gz is not weir.js');
  if (brotliDecompressSync(readFileSync(path('weir.js.br'))).toString() !== weir)
    wrong.push('dist/weir.js.br is not weir.js');
} else {
  for (const [name, text] of Object.entries(files)) writeFileSync(path(name), text);
  writeFileSync(path('weir.js.gz'), gzip(weir));
  writeFileSync(path('weir.js.br'), brotli(weir));
}
for (const sentence of wrong) console.error(sentence);
process.exitCode = wrong.length ? 1 : 0;
