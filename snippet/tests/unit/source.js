// A module of src/, as the page would have it.

import { join } from 'node:path';
import { build } from 'esbuild';

/** @param {string} name a file of src/ */
export async function source(name) {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, '../../src', name)],
    bundle: true,
    format: 'esm',
    write: false,
  });
  return import(`data:text/javascript,${encodeURIComponent(outputFiles[0]?.text ?? '')}`);
}
