// The queue: from an event to the collector's answer. It promises that an event leaves it only when the collector
// has answered for good, that no request needs a preflight, and that what is unanswered when a page ends goes out on
// the site's next one; the collector drops what it has seen by its eventId.

import { local, uuid } from './device';

/** The browser lets 64 KiB be in flight while a page ends, of fetch and beacons together. */
const BODY_BYTES = 50000;
/** Beyond that the oldest events go: a site's whole storage is some 5 MB. */
const KEPT_CHARACTERS = 1000000;

const size = (text: string) => new Blob([text]).size;

export interface Queue {
  add(event: string): void;
  /** Sends what waits, one request at a time, until everything has its answer. */
  send(): void;
  /** The page may end now: sends all that is not under way, and keeps all that is unanswered. */
  leave(): void;
  clear(): void;
}

/**
 * `kept` is the name under which unanswered events are kept on the device, if they may be; `envelope` gives a
 * request's body for some events, or nothing while none may leave the page.
 */
export const createQueue = (
  endpoint: string,
  kept: string | false,
  envelope: (events: string[]) => string | undefined,
  log: (...words: unknown[]) => void,
): Queue => {
  const own = kept + uuid();
  let events: string[] = [];
  /** So many of them, the oldest ones, are in flight or with a beacon. */
  let away = 0;
  let busy: boolean | undefined;
  let adopted: boolean | undefined;
  let failures = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  /** What goes into one request, from this event on. */
  const chunk = (start: number) => {
    let bytes = 0;
    let end = start;
    while (end < events.length && ((bytes += size(events[end] as string)) < BODY_BYTES || end === start))
      end++;
    return events.slice(start, end);
  };

  const keep = () => {
    if (kept && envelope([]))
      local((storage) =>
        events[0] ? storage.setItem(own, JSON.stringify(events)) : storage.removeItem(own),
      );
  };

  /** Takes over what earlier pages of this site could not deliver. */
  const adopt = () => {
    adopted = true;
    local((storage) => {
      for (const name of Object.keys(storage))
        if (kept && name.startsWith(kept)) {
          const found = storage.getItem(name) as string;
          storage.removeItem(name);
          events = JSON.parse(found).concat(events);
        }
    });
    keep();
  };

  const send = async () => {
    if (busy || !envelope([])) return;
    if (!adopted) adopt();
    const part = chunk(0);
    if (!part[0]) return;
    const body = envelope(part) as string;
    clearTimeout(timer);
    timer = undefined;
    busy = true;
    away = part.length;
    let pause = 0;
    try {
      const answer = await fetch(endpoint, {
        method: 'POST',
        body,
        keepalive: size(body) < 60000,
        credentials: 'omit',
        signal: AbortSignal.timeout(30000),
      });
      const { status } = answer;
      // Unread, it would hold the browser's quota for requests that outlive a page.
      log(status, await answer.text());
      // Any other refusal is final: the same bytes would be refused for ever.
      if (status > 499 || status === 429 || status === 408)
        pause = +(answer.headers.get('Retry-After') as string) || 1;
    } catch (error) {
      log(error);
      pause = 1;
    }
    busy = false;
    away = 0;
    if (pause) {
      pause = Math.max(pause, Math.min(2 ** failures++, 60)) * (1 + Math.random() / 2);
      timer = setTimeout(send, pause * 1000);
    } else {
      failures = 0;
      events = events.filter((event) => !part.includes(event));
      send();
    }
    keep();
  };

  return {
    add(event) {
      events.push(event);
      while (events.join().length > KEPT_CHARACTERS) events.shift();
      // What one task of the page adds travels together.
      if (!timer) queueMicrotask(send);
    },
    send,
    leave() {
      keep();
      for (let part: string[]; (part = chunk(away))[0]; away += part.length) {
        const body = envelope(part);
        if (!body || !navigator.sendBeacon(endpoint, body)) break;
      }
    },
    clear() {
      events = [];
      local((storage) => storage.removeItem(own));
    },
  };
};
