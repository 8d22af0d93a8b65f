// Clicks and forms: seen on the way down, before anybody can stop them; the page's own handling is never touched.

import type { Properties } from './api';
import { guarded, on } from './guard';

type Track = (name: string, data: Properties) => void;
type Scrub = (url: string) => string;

const CLICKABLE = 'area,button,[role=button],[type=button],a,[type=submit],[data-track]';
const DOWNLOAD = /\.(pdf|csv|docx?|mp.|exe|pptx?|gz|txt|xlsx?|zip)$/i;

/** What an element says in an attribute: a form's properties are hidden by fields that are named like them. */
const attribute = (element: Element, name: string) => element.getAttribute(name) || undefined;

/** The elements that an event passes, from the innermost; none where one of them asks to be left alone. */
const path = (event: Event): Element[] => {
  const elements = event.composedPath().filter((node): node is Element => (node as Element).nodeType === 1);
  return elements.find((element) => element.matches('[data-track-ignore]')) ? [] : elements;
};

/** A link as the browser would follow it. */
const resolve = (href: string) => new URL(href, document.baseURI);

/** Tracks under the name that `data-track` gives, with its `data-track-*` properties; else under the usual one. */
const report = (elements: Element[], name: string, data: Properties, track: Track) => {
  const named = elements.find((element) => element.matches('[data-track]')) as HTMLElement | undefined;
  for (const { name, value } of named?.attributes ?? [])
    if (name.startsWith('data-track-')) data[name.slice(11)] = value;
  track(named?.dataset.track || name, data);
};

export const watchClicks = (track: Track, scrub: Scrub) => {
  let last: number;
  const click = (event: Event) => {
    // A form's name is for its submission, not for the clicks into it.
    const elements = path(event).filter((element) => !element.matches('form'));
    const element = elements.find((element) => element.matches(CLICKABLE));
    // Of the other buttons, only the middle one opens links. A click on a label is also one on its field, at the same
    // time; the second of a double click has another detail.
    const when = event.timeStamp + (event as MouseEvent).detail;
    if (!element || (event as MouseEvent).button > 1 || when === last) return;
    last = when;
    const data: Properties = {
      elementId: attribute(element, 'id'),
    };
    const href = attribute(element, 'href') || attribute(element, 'xlink:href');
    if (href) {
      const { href: url, protocol, host, pathname } = resolve(href);
      // A link may hold a document, or a program.
      data.href = /^[djb]/.test(protocol) ? protocol : scrub(url);
      data.kind = !/^http/.test(protocol)
        ? protocol.slice(0, -1)
        : element.hasAttribute('download') || DOWNLOAD.test(pathname)
          ? 'download'
          : host !== location.host
            ? 'outbound'
            : 'link';
    }
    report(elements, 'click', data, track);
  };
  on('auxclick click', click);
};

export const watchForms = (track: Track, scrub: Scrub) => {
  let last: Event | undefined;
  const submit = guarded((event: Event) => {
    const elements = path(event);
    const form = elements[0];
    // A form in a slot is on its way through the root and the window.
    if (!form || event === last) return;
    last = event;
    const { submitter } = event as SubmitEvent;
    report(
      elements,
      'form_submit',
      {
        elementId: attribute(form, 'id'),
        name: attribute(form, 'name'),
        method: attribute(form, 'method'),
        action: scrub(resolve(attribute(form, 'action') || '').href),
        fields: form.querySelectorAll('input,select,textarea').length,
        submitter: submitter?.getAttribute('name'),
      },
      track,
    );
  });
  // A shadow root keeps the submits of its forms to itself, but not the key or the click before them. It listens once
  // to the same function, however often it is asked to. (Links have a host too, and submit nothing.)
  const enter = (event: Event) => {
    for (const node of path(event)[0] ? event.composedPath() : [])
      if ((node as ShadowRoot).host) node.addEventListener('submit', submit, true);
  };
  on('submit', submit);
  on('keydown click', enter);
};
