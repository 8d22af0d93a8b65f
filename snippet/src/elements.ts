// Clicks and forms: seen on the way down, before anybody can stop them; the page's own handling is never touched.

import type { Options, Properties } from './api';
import { scrub } from './privacy';
import type { Listen } from './tracker';

type Track = (name: string, data: Properties) => void;

const CLICKABLE = 'a,area,button,summary,[data-track],[role=button],[type=submit],[type=button],[type=image]';
const DOWNLOAD = /\.(7z|apk|csv|dmg|docx?|epub|exe|gz|iso|mp[34]|msi|odt|pdf|pkg|pptx?|rar|txt|xlsx?|zip)$/i;

/** What an element says in attributes; its properties may be hidden by fields named like them. */
const attribute = (element: Element, name: string) =>
  Element.prototype.getAttribute.call(element, name) ?? undefined;

/** The elements that an event passes, from the innermost; none where one of them asks to be left alone. */
const path = (event: Event): Element[] => {
  const elements = event.composedPath().filter((node): node is Element => node instanceof Element);
  return elements.some((element) => attribute(element, 'data-track-ignore') != null) ? [] : elements;
};

/** A link as the browser would follow it. */
const resolve = (href: string) => Object.assign(document.createElement('a'), { href });

/** Tracks under the name that `data-track` gives, with its `data-track-*` properties; else under the usual one. */
const report = (elements: Element[], name: string, data: Properties, track: Track) => {
  const named = elements.find((element) => attribute(element, 'data-track')) as HTMLElement | undefined;
  for (const { name, value } of named?.attributes ?? [])
    if (name.startsWith('data-track-')) data[name.slice(11)] = value;
  track((named && attribute(named, 'data-track')) || name, data);
};

export const watchClicks = (options: Options, on: Listen, track: Track) => {
  const click = (event: Event) => {
    const elements = path(event);
    const element = elements.find((element) => element.matches(CLICKABLE));
    // Of the other buttons, only the middle one opens links.
    if (!element || (event as MouseEvent).button > 1) return;
    const data: Properties = {
      tag: element.localName,
      elementId: attribute(element, 'id'),
      text: element.textContent?.trim().slice(0, 80),
    };
    const href = attribute(element, 'href') ?? attribute(element, 'xlink:href');
    if (href != null) {
      const { href: url, protocol, host, pathname } = resolve(href);
      data.href = scrub(url, options);
      data.kind = !/^http/.test(protocol)
        ? protocol.slice(0, -1)
        : attribute(element, 'download') != null || DOWNLOAD.test(pathname)
          ? 'download'
          : host !== location.host
            ? 'outbound'
            : 'link';
    }
    report(elements, 'click', data, track);
  };
  on(window, 'click', click);
  on(window, 'auxclick', click);
};

export const watchForms = (options: Options, on: Listen, track: Track) => {
  const submit = (event: Event) => {
    const elements = path(event);
    const form = elements[0];
    if (!form) return;
    const { submitter } = event as SubmitEvent;
    report(
      elements,
      'form_submit',
      {
        elementId: attribute(form, 'id'),
        name: attribute(form, 'name'),
        method: attribute(form, 'method'),
        action: scrub(resolve(attribute(form, 'action') || '').href, options),
        fields: Element.prototype.querySelectorAll.call(form, 'input,select,textarea').length,
        submitter: submitter ? attribute(submitter, 'name') : undefined,
      },
      track,
    );
  };
  // A shadow root keeps the submits of its forms to itself, but not what comes before them.
  const enter = (event: Event) => {
    for (const node of event.composedPath()) if (node instanceof ShadowRoot) on(node, 'submit', submit);
  };
  on(window, 'submit', submit);
  on(window, 'focusin', enter);
  on(window, 'click', enter);
};
