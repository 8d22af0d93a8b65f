// The script tag: its attributes are the options, the page's one global is the tracker, and what was called before
// it came is called now.

import type { Options } from './api';
import { guarded } from './guard';
import { type Call, start } from './tracker';

/** When, where, and with what the stub was called. */
type Waiting = [number, string, Iterable<unknown> & { 0?: unknown; 1?: unknown }];

interface Global {
  (...call: unknown[]): unknown;
  q?: Waiting[];
  /** Every project's tracker on this page. */
  t?: Record<string, Call>;
}

/** Nothing of it is known where the page's own code runs this. */
const script = (document.currentScript || {}) as Partial<HTMLScriptElement>;
const options: Record<string, unknown> = {};
for (const name in script.dataset) {
  const value = script.dataset[name];
  // An attribute without a value is a yes.
  options[name] = value !== 'false' && (value || true);
}
const place = (options.name as string) || 'weir';
const page = window as unknown as Record<string, Global | undefined>;
const before = page[place];
const trackers = before?.t || {};
const waiting = before?.q || [];

/** Starts a project's tracker, once on a page, as soon as its key is known. */
const init = guarded((more?: unknown) => {
  const own = { ...options, ...(more as typeof options) };
  const key = own.projectKey as string;
  if (!key || trackers[key]) return;
  own.endpoint = new URL((own.endpoint as string) || '/api/events', script.src || location.href).href;
  trackers[key] = start(own as unknown as Options, (call) => {
    for (const [at, url, args] of waiting) if (args[0] !== 'init') call(args, at, url);
  });
});

const weir: Global = (...args) => {
  if (args[0] === 'init') return init(args[1]);
  const started = Object.values(trackers);
  if (!started[0]) waiting.push([Date.now(), location.href, args]);
  return started.map((call) => call(args))[0];
};
weir.q = waiting;
weir.t = trackers;
if (!before?.t) page[place] = weir;
for (const [, , args] of waiting) if (args[0] === 'init') init(args[1]);
init();
