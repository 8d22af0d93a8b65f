// One project's tracker on a page: what is called, what is noted of each event, and whether anything may leave.

import type { Options, Properties, TrackedEvent } from './api';
import { createQueue } from './delivery';
import { keepVisitor, readVisitor, uuid } from './device';
import { watchClicks, watchForms } from './elements';
import { guarded, listenIn, log, on } from './guard';
import { watchPages } from './pages';
import { excluded, scrubber } from './privacy';

/** A call as it was made: its arguments, and for one that had to wait, when and where. */
export type Call = (call: Iterable<unknown>, at?: number, url?: string) => unknown;

/** What a call does with its first and second argument. */
type Method = (first: unknown, second?: unknown, at?: number, url?: string) => unknown;

const OPTED_OUT = 'weir.out';

/** Starts a tracker. `earlier` is called before it looks at the page: what it asks counts for the first page view. */
export const start = (options: Options, earlier?: (call: Call) => void): Call => {
  const { projectKey, storage, beforeSend } = options;
  listenIn(options.debug);
  let silenced = excluded(options) || guarded(() => localStorage[OPTED_OUT])();
  /** Undefined while nobody has been asked. */
  let consent: boolean | undefined = (options.consent ?? 'granted') === 'granted' || undefined;
  let visitor: string | undefined;
  let userId: string | undefined;
  let common: Properties = {};
  let referrer = document.referrer;
  let viewed: string | undefined;

  const open = () =>
    consent && !silenced && !(document as Document & { prerendering?: boolean }).prerendering;
  const visitorId = () => {
    if (open() && storage !== 'none' && !visitor) {
      // biome-ignore lint/suspicious/noAssignInExpressions: two bytes shorter.
      keepVisitor(options, (visitor = readVisitor(options) || uuid()));
    }
    return visitor;
  };
  const envelope = (events: string[]) =>
    JSON.stringify({
      projectKey,
      source: 'snippet',
      visitorId: visitorId(),
      // Anew at each attempt: it tells a late event from a wrong clock.
      sentAt: new Date(),
      events: events.map((event) => JSON.parse(event)),
    });
  const queue = createQueue(
    options.endpoint as string,
    // No key has a space in it, so none of these names begins like another project's.
    storage !== 'none' && `weir.${projectKey} `,
    open,
    envelope,
  );
  const scrub = scrubber(options);

  const track: Method = (type, data, at = Date.now(), url = location.href) => {
    if (silenced || consent === false || !type) return log('dropped', type, silenced);
    let event: TrackedEvent | null | undefined | false = {
      type: `${type}`,
      url: scrub(url),
      referrer: scrub(referrer),
      data: { ...common, ...(data as Properties) },
      timestamp: new Date(at),
      eventId: uuid(),
      userId,
    };
    const hook = (window as never)[beforeSend as string] || beforeSend;
    if (hook) event = (hook as (event: TrackedEvent) => TrackedEvent | null)(event);
    log(event);
    if (event) queue.add(JSON.stringify(event));
  };
  const page: Method = (data, _, at, url = location.href) => {
    if (viewed !== url) referrer = viewed || referrer;
    viewed = url;
    track('pageview', data, at, url);
  };
  /** Takes what is kept of the visitor from the page and the device. */
  const forget = () => {
    visitor = undefined;
    queue.clear();
    keepVisitor(options);
  };

  const calls: Record<string, Method> = {
    // No name of an event leads to what every object has.
    __proto__: null as never,
    track,
    page,
    identify(id) {
      userId = `${id ?? ''}`;
    },
    set(data) {
      common = { ...common, ...(data as Properties) };
    },
    consent(granted) {
      consent = granted === true;
      if (consent) queue.send();
      else forget();
    },
    optOut() {
      silenced = OPTED_OUT;
      forget();
      localStorage[OPTED_OUT] = OPTED_OUT;
    },
    optIn() {
      silenced = excluded(options);
      delete localStorage[OPTED_OUT];
    },
    visitorId,
    flush: queue.send,
  };
  const call: Call = guarded(([name, first, second]: Iterable<unknown>, at?: number, url?: string) => {
    const known = calls[name as string];
    return known ? known(first, second, at, url) : track(name, first, at, url);
  });

  earlier?.(call);
  on('online visibilitychange prerenderingchange', () => (document.hidden ? queue.leave() : queue.send()));
  on('pagehide', queue.leave);
  if (options.clicks !== false) watchClicks(track, scrub);
  if (options.forms !== false) watchForms(track, scrub);
  if (options.pageviews !== false) watchPages(options, page as () => void);
  queue.send();
  return call;
};
