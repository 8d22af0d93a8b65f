// Ids, as the collector reads them.

import assert from 'node:assert/strict';
import test from 'node:test';
import { source } from './source.js';

const { uuid } = await source('device.ts');

test('ids are UUIDs of version 4, each its own', () => {
  const ids = Array.from({ length: 1000 }, () => uuid());
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(new Set(ids).size, 1000);
});
