// The queue: from an event to the collector's answer. It promises that an event within its bounds leaves it only when
// the collector has answered for good, or the visitor does not want it; that no request needs a preflight; that the
// collector is left alone for as long as it asks, but for the beacons of a page that is hidden; that what was sent and
// has no answer when a tab crashes, and all that has none when a page is hidden, goes out on the site's next page. So
// an event may be sent more than once: the collector drops what it has seen by its eventId.

import { uuid } from './device';
import { guarded, log } from './guard';

/** The browser lets 64 KiB be in flight while a page ends, of fetch and beacons together. */
const BODY_BYTES = 50000;
/** No request without `keepalive` is sent, so an event has to fit into one. The collector takes little more. */
const EVENT_BYTES = 60000;
/** Of each open page, in memory and on the device. Beyond that the oldest go: a site's whole storage is some 5 MB. */
const KEPT_CHARACTERS = 1000000;

const size = (text: string) => new TextEncoder().encode(text).length;

export interface Queue {
  add(event: string): void;
  /** Sends what waits, one request at a time, until everything has its answer, but not while it has to wait. */
  send(): void;
  /** The page may end now: sends all that is not under way, and keeps all that is unanswered. */
  leave(): void;
  /** Drops everything, also what is kept. */
  clear(): void;
}

/**
 * `kept` is what the names begin with under which unanswered events are kept on the device, if they may be; `open`
 * says whether anything may leave the page; `envelope` gives a request's body for some events.
 */
export const createQueue = (
  endpoint: string,
  kept: string | false,
  open: () => unknown,
  envelope: (events: string[]) => string,
): Queue => {
  const own = kept + uuid();
  let events: string[] = [];
  let characters = 0;
  /** So many of them, the oldest ones, are in flight or with a beacon. */
  let away = 0;
  let busy: boolean | undefined;
  let adopted: boolean | undefined;
  let failures = 0;
  let timer: number | undefined;
  /** The collector wants to be left alone until then. */
  let until = 0;

  /** What goes into one request, from this event on. */
  const chunk = (start: number) => {
    let bytes = 0;
    // biome-ignore lint/suspicious/noAssignInExpressions: 17 bytes shorter than a loop.
    return events.slice(start).filter((event, at) => (bytes += size(event)) <= BODY_BYTES || !at);
  };

  const post = (body: string) =>
    fetch(endpoint, { credentials: 'omit', body, method: 'POST', keepalive: true });

  const keep = guarded(() => {
    const text = JSON.stringify(events);
    characters = text.length;
    if (kept && events[0] && open()) localStorage[own] = text;
    else delete localStorage[own];
  });

  /** Takes over what earlier pages of this site could not deliver. */
  const adopt = guarded(() => {
    adopted = true;
    for (const name in localStorage)
      if (kept && name.startsWith(kept)) {
        const found = localStorage[name];
        delete localStorage[name];
        // A page that is still open has kept its own, and takes over ours.
        events = [...new Set<string>([...JSON.parse(found), ...events])];
      }
    keep();
  });

  const send = async () => {
    // Where nothing may leave the page, the timer has to be gone all the same: the next event looks at it.
    // biome-ignore lint/suspicious/noAssignInExpressions: two bytes shorter than statements of their own.
    if (until > Date.now() || busy || (timer = clearTimeout(timer) as undefined) || !open()) return;
    if (!adopted) adopt();
    const part = chunk(0);
    if (!part[0]) return;
    away = part.length;
    busy = true;
    // The tab may crash before there is an answer.
    keep();
    /** Seconds that the collector wants to be left alone; negative when it has answered for good. */
    let pause = -1;
    try {
      const answer = await post(envelope(part));
      // Unread, it would hold the browser's quota for requests that outlive a page.
      log(await answer.text());
      // Any other refusal is final: the same bytes would be refused for ever.
      if (/^(429|408|5)/.test(answer.status as never))
        pause = (answer.headers.get('Retry-After') as never) >>> 0;
    } catch (error) {
      log(error);
      pause = 0;
    }
    busy = false;
    away = 0;
    until = Date.now() + pause * 1000;
    if (pause < 0) {
      failures = 0;
      events = events.filter((event) => !part.includes(event));
      send();
    } else {
      timer = setTimeout(send, (pause + Math.min(2 ** failures++, 60) * (0.5 + Math.random())) * 1000);
    }
    keep();
  };

  return {
    add(event) {
      if (size(event) > EVENT_BYTES) return log('dropped', event);
      characters += event.length;
      events.push(event);
      while (characters > KEPT_CHARACTERS && events[1]) characters -= (events.shift() as string).length;
      // What one task of the page adds travels together.
      if (!timer) queueMicrotask(send);
    },
    send,
    leave() {
      keep();
      // biome-ignore lint/suspicious/noAssignInExpressions: shorter than asking for a chunk in two places.
      for (let part: string[]; open() && (part = chunk(away))[0]; ) {
        const body = envelope(part);
        if (!navigator.sendBeacon?.(endpoint, body)) post(body).catch(log);
        away += part.length;
      }
    },
    clear() {
      adopt();
      events = [];
      keep();
    },
  };
};
