// One project's tracker on a page: what is called, what is noted of each event, and whether anything may leave.

import type { Options, Properties, TrackedEvent } from './api';
import { createQueue } from './delivery';
import { forgetVisitor, local, readVisitor, uuid } from './device';
import { watchClicks, watchForms } from './elements';
import { watchPages } from './pages';
import { excluded, scrub } from './privacy';

/** Listens before anybody else does; what a listener of ours throws stays with us. */
export type Listen = (target: EventTarget, type: string, listener: (event: Event) => void) => void;

/** A call as it was made: its arguments, and for one that had to wait, when and where. */
export type Call = (call: unknown[], at?: number, url?: string) => unknown;

const OPTED_OUT = 'weir.optout';

/** Starts a tracker. `earlier` is called before it looks at the page: what it asks counts for the first page view. */
export const start = (options: Options, earlier?: (call: Call) => void): Call => {
  const { projectKey, storage, beforeSend } = options;
  let silenced = excluded(options) || local((storage) => storage.getItem(OPTED_OUT));
  /** Undefined while nobody has been asked. */
  let consent = options.consent === 'pending' ? undefined : true;
  let visitor: string | undefined;
  let userId: string | undefined;
  let common: Properties = {};
  let referrer = document.referrer;
  let viewed: string | undefined;

  const log = (...words: unknown[]) => {
    if (options.debug) console.log('weir', ...words);
  };
  const guarded =
    <A extends unknown[]>(work: (...inputs: A) => unknown) =>
    (...inputs: A) => {
      try {
        return work(...inputs);
      } catch (error) {
        log(error);
      }
    };
  const on: Listen = (target, type, listener) => target.addEventListener(type, guarded(listener), true);

  const open = () =>
    consent && !silenced && !(document as Document & { prerendering?: boolean }).prerendering;
  const visitorId = () => (open() && storage !== 'none' ? (visitor ||= readVisitor(options)) : undefined);
  const envelope = (events: string[]) =>
    open()
      ? JSON.stringify({
          projectKey,
          source: 'snippet',
          visitorId: visitorId(),
          // Anew at each attempt: it tells a late event from a wrong clock.
          sentAt: new Date(),
          events: [],
        }).replace(/]}$/, () => events + ']}')
      : undefined;
  const queue = createQueue(
    options.endpoint as string,
    storage !== 'none' && `weir.${projectKey}.`,
    envelope,
    log,
  );

  const track = (type: unknown, data?: unknown, at?: number, url?: string) => {
    if (silenced || consent === false || !type) return log('not sent', type, silenced || 'no consent');
    let event: TrackedEvent | null | undefined | false = {
      type: `${type}`,
      url: scrub(url || location.href, options),
      referrer: scrub(referrer, options),
      data: { ...common, ...(data as Properties) },
      timestamp: new Date(at || Date.now()).toISOString(),
      eventId: uuid(),
      ...(userId ? { userId } : {}),
    };
    const hook = typeof beforeSend === 'string' ? (window as never)[beforeSend] : beforeSend;
    if (hook) event = (hook as (event: TrackedEvent) => TrackedEvent | null)(event);
    log(event);
    if (event) queue.add(JSON.stringify(event));
  };
  const view = (data?: unknown, at?: number, url?: string) => {
    referrer = viewed || referrer;
    viewed = url || location.href;
    track('pageview', data, at, url);
  };
  /** Takes what is kept of the visitor from the page and the device. */
  const forget = () => {
    visitor = undefined;
    queue.clear();
    forgetVisitor(options);
  };

  const calls: Record<string, (first: unknown, second: unknown, at?: number, url?: string) => unknown> = {
    // No name of an event leads to what every object has.
    __proto__: null as never,
    track: (name, data, at, url) => track(name, data, at, url),
    page: (data, _, at, url) => view(data, at, url),
    identify: (id) => {
      userId = id as string;
    },
    set: (data) => {
      common = { ...common, ...(data as Properties) };
    },
    consent: (granted) => {
      consent = !!granted;
      if (consent) queue.send();
      else forget();
    },
    optOut: () => {
      silenced = 'opted out';
      forget();
      local((storage) => storage.setItem(OPTED_OUT, '1'));
    },
    optIn: () => {
      local((storage) => storage.removeItem(OPTED_OUT));
      silenced = excluded(options);
    },
    visitorId,
    flush: () => queue.send(),
  };
  const call: Call = guarded(([name, first, second]: unknown[], at?: number, url?: string) => {
    const known = calls[name as string];
    return known ? known(first, second, at, url) : track(name, first, at, url);
  });

  earlier?.(call);
  on(document, 'visibilitychange', () => (document.hidden ? queue.leave() : queue.send()));
  on(document, 'prerenderingchange', queue.send);
  on(window, 'pagehide', queue.leave);
  on(window, 'online', queue.send);
  if (options.clicks !== false) watchClicks(options, on, track);
  if (options.forms !== false) watchForms(options, on, track);
  if (options.pageviews !== false) guarded(watchPages)(options, on, view);
  queue.send();
  return call;
};
