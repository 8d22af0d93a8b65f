// What is kept on the visitor's device. Storage may be full, switched off or throw at every touch: then there is
// none, and the page goes on.

import type { Options } from './api';
import { guarded } from './guard';

const VISITOR = 'weir.visitor';
/** In seconds: nearly a year. */
const KEPT = 3e7;

/** A random UUID, also where a page without HTTPS has no crypto.randomUUID. */
export const uuid = () =>
  'xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx'.replace(/x/g, () =>
    ((crypto.getRandomValues(new Uint8Array(1))[0] as number) & 15).toString(16),
  );

/** The visitor's id, if there is one. */
export const readVisitor = guarded(({ storage }: Options): string | undefined =>
  storage === 'cookie' ? document.cookie.match(`${VISITOR}=([^;]+)`)?.[1] : localStorage[VISITOR],
);

/** Keeps the visitor's id, or with no id forgets it. */
export const keepVisitor = guarded(({ storage, cookieDomain }: Options, id?: string) => {
  if (storage === 'cookie')
    // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API is younger than the browsers we are for.
    document.cookie = `${VISITOR}=${id};domain=${cookieDomain || ''};max-age=${id ? KEPT : 0};samesite=lax;path=/`;
  else if (id) localStorage[VISITOR] = id;
  else delete localStorage[VISITOR];
});
