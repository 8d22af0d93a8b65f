// Who is not counted, and what is not told.

import type { Options } from './api';

/** Why this browser, or this page, is not counted; undefined where it is. */
export const excluded = ({ gpc, dnt, bots, localhost, frames }: Options): string | undefined => {
  const browser = navigator as Navigator & { globalPrivacyControl?: boolean };
  if (gpc !== false && browser.globalPrivacyControl) return 'gpc';
  if (dnt && browser.doNotTrack === '1') return 'dnt';
  if (!bots && browser.webdriver) return 'bots';
  if (!localhost && /^file|^\w+:\/\/(127\.|localhost[:/]|\[::1])/.test(location.href)) return 'localhost';
  if (!frames && self !== top && (origin === 'null' || frameElement?.hasAttribute('sandbox'))) return 'frame';
};

/** Parameters that campaigns and ad platforms set: long, and no secret. */
const CAMPAIGN = /^utm_|clc?k?id$|braid$/i;
const SECRET_NAME = /token|otp|code|pwd|passw|secret|mail|phone|sess|(auth|pass|sig|key)$/i;
/** Also encoded twice; or a URL in a URL, which may hide one. */
const EMAIL = /@|%(25)?40|%3f/i;
/** A run of letters and digits so long that it was made by a machine. */
const MACHINE_MADE = /^(?=.*\d)([\w./=-]|%(2[bf]|3d)){20,}$/i;

/** The collector refuses longer ones. */
const URL_CHARACTERS = 8000;

/** Takes from a URL what may be secret: credentials, and the values of parameters that look like one. */
export const scrubber =
  ({ query }: Options) =>
  (url: string): string =>
    url
      .replace(/\/\/[^/?#]*@/, '//')
      .replace(/([?&#]([^=&#?]*)=)([^?&#]*)/g, (all, start, name, value) =>
        (
          query
            ? `${query}`.split(',').includes(name)
            : !EMAIL.test(value) &&
              (CAMPAIGN.test(name) || !(SECRET_NAME.test(name) || MACHINE_MADE.test(value)))
        )
          ? all
          : `${start}*`,
      )
      .slice(0, URL_CHARACTERS);
