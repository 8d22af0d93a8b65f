// What is kept on the visitor's device. Storage may be full, switched off or throw at every touch: then there is
// none, and the page goes on.

import type { Options } from './api';

const VISITOR = 'weir.visitor';
const YEAR = 31536000;

/** Calls `use` with localStorage; undefined where that throws. */
export const local = <T>(use: (storage: Storage) => T): T | undefined => {
  try {
    return use(localStorage);
  } catch {}
};

/** A random UUID, also where a page without HTTPS has no crypto.randomUUID. */
export const uuid = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let text = '';
  bytes.forEach((byte, i) => {
    if (i === 6) byte = (byte & 15) | 64;
    if (i === 8) byte = (byte & 63) | 128;
    text += (i > 3 && i < 11 && !(i & 1) ? '-' : '') + (byte + 256).toString(16).slice(1);
  });
  return text;
};

const writeCookie = (options: Options, value: string, seconds: number) => {
  document.cookie =
    `${VISITOR}=${value};path=/;samesite=lax;max-age=${seconds}` +
    (options.cookieDomain ? ';domain=' + options.cookieDomain : '') +
    (location.protocol === 'https:' ? ';secure' : '');
};

/** The visitor's id, made and kept when there is none yet. */
export const readVisitor = (options: Options): string => {
  const cookie = options.storage === 'cookie';
  const id =
    (cookie
      ? document.cookie.match(VISITOR + '=([^;]+)')?.[1]
      : local((storage) => storage.getItem(VISITOR))) || uuid();
  if (cookie) writeCookie(options, id, YEAR);
  else local((storage) => storage.setItem(VISITOR, id));
  return id;
};

export const forgetVisitor = (options: Options) => {
  if (options.storage === 'cookie') writeCookie(options, '', 0);
  else local((storage) => storage.removeItem(VISITOR));
};
