// Who is not counted, and what is not told.

import type { Options } from './api';

/** Why this browser, or this page, is not counted; undefined where it is. */
export const excluded = (options: Options): string | undefined => {
  const { gpc, dnt, bots, localhost, frames } = options;
  const browser = navigator as Navigator & { globalPrivacyControl?: boolean };
  if (gpc !== false && browser.globalPrivacyControl) return 'Global Privacy Control';
  if (dnt && browser.doNotTrack === '1') return 'Do Not Track';
  if (!bots && browser.webdriver) return 'an automated browser';
  if (!localhost && /^(file:|https?:\/\/(localhost|127\.|\[::1]))/.test(location.href)) return 'localhost';
  if (!frames && self !== top && (self.origin === 'null' || frameElement?.hasAttribute('sandbox')))
    return 'a sandboxed frame';
};

/** Parameters that campaigns and ad platforms set: long, and no secret. */
const CAMPAIGN = /^utm_|cl(k|ck)?id$|^[gw]braid$/i;
const SECRET_NAME = /token|code|key|secret|pass|auth|session|^sid$|mail|phone|otp|sig|jwt|nonce|state/i;
/** An e-mail address, or a run of letters and digits so long that it was made by a machine. */
const SECRET_VALUE = /@|%40|^(?=.*\d)[\w.~+/=%-]{20,}$/i;

/** Takes from a URL what may be secret: credentials, and the values of parameters that look like one. */
export const scrub = (url: string, options: Options): string => {
  const allowed = options.query && `${options.query}`.split(',');
  return url
    .replace(/\/\/[^/?#]*@/, '//')
    .replace(/([?&#]([^=&#?]*)=)([^&#]*)/g, (all, start, name, value) =>
      (
        allowed
          ? allowed.includes(name)
          : CAMPAIGN.test(name) || !(SECRET_NAME.test(name) || SECRET_VALUE.test(value))
      )
        ? all
        : start + '*',
    );
};
