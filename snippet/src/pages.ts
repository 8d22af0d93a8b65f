// When a page is viewed: once when it is first seen, again when the browser brings it back whole, and for each page
// of a single-page app.

import type { Options } from './api';
import { guarded, on } from './guard';

type Navigation = EventTarget;

export const watchPages = guarded(({ spa, replaceState }: Options, view: () => void) => {
  /** What tells one page of the site from another. */
  const page = () =>
    location.pathname + (spa !== 'path' ? location.search : '') + (spa === 'hash' ? location.hash : '');
  let last: string;
  let due = true;

  /** A page that is prerendered, or in a background tab, counts when somebody sees it. */
  const look = () => {
    if (due && !document.hidden) {
      due = false;
      last = page();
      view();
    }
  };
  const moved = guarded((replaced?: boolean) => {
    if (replaced && !replaceState) last = page();
    else due ||= page() !== last;
    look();
  });

  look();
  on('pageshow visibilitychange', (event) => {
    due ||= (event as PageTransitionEvent).persisted;
    look();
  });
  if (spa === 'off') return;
  const { navigation } = window as Window & { navigation?: Navigation };
  if (navigation) {
    on(
      'currententrychange',
      (event) => moved((event as Event & { navigationType?: string }).navigationType === 'replace'),
      navigation,
    );
  } else {
    for (const name of ['replaceState', 'pushState'] as const) {
      const original = history[name];
      history[name] = function (...state) {
        original.apply(this, state);
        moved(name === 'replaceState');
      };
    }
    on('popstate hashchange', () => moved());
  }
});
