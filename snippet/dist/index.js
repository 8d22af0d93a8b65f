// src/device.ts
var VISITOR = "weir.visitor";
var YEAR = 31536e3;
var local = (use) => {
  try {
    return use(localStorage);
  } catch {
  }
};
var uuid = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let text = "";
  bytes.forEach((byte, i) => {
    if (i === 6) byte = byte & 15 | 64;
    if (i === 8) byte = byte & 63 | 128;
    text += (i > 3 && i < 11 && !(i & 1) ? "-" : "") + (byte + 256).toString(16).slice(1);
  });
  return text;
};
var writeCookie = (options, value, seconds) => {
  document.cookie = `${VISITOR}=${value};path=/;samesite=lax;max-age=${seconds}` + (options.cookieDomain ? ";domain=" + options.cookieDomain : "") + (location.protocol === "https:" ? ";secure" : "");
};
var readVisitor = (options) => {
  const cookie = options.storage === "cookie";
  const id = (cookie ? document.cookie.match(VISITOR + "=([^;]+)")?.[1] : local((storage) => storage.getItem(VISITOR))) || uuid();
  if (cookie) writeCookie(options, id, YEAR);
  else local((storage) => storage.setItem(VISITOR, id));
  return id;
};
var forgetVisitor = (options) => {
  if (options.storage === "cookie") writeCookie(options, "", 0);
  else local((storage) => storage.removeItem(VISITOR));
};

// src/delivery.ts
var BODY_BYTES = 5e4;
var KEPT_CHARACTERS = 1e6;
var size = (text) => new Blob([text]).size;
var createQueue = (endpoint, kept, envelope, log) => {
  const own = kept + uuid();
  let events = [];
  let away = 0;
  let busy;
  let adopted;
  let failures = 0;
  let timer;
  const chunk = (start2) => {
    let bytes = 0;
    let end = start2;
    while (end < events.length && ((bytes += size(events[end])) < BODY_BYTES || end === start2))
      end++;
    return events.slice(start2, end);
  };
  const keep = () => {
    if (kept && envelope([]))
      local(
        (storage) => events[0] ? storage.setItem(own, JSON.stringify(events)) : storage.removeItem(own)
      );
  };
  const adopt = () => {
    adopted = true;
    local((storage) => {
      for (const name of Object.keys(storage))
        if (kept && name.startsWith(kept)) {
          const found = storage.getItem(name);
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
    const body = envelope(part);
    clearTimeout(timer);
    timer = void 0;
    busy = true;
    away = part.length;
    let pause = 0;
    try {
      const answer = await fetch(endpoint, {
        method: "POST",
        body,
        keepalive: size(body) < 6e4,
        credentials: "omit",
        signal: AbortSignal.timeout(3e4)
      });
      const { status } = answer;
      log(status, await answer.text());
      if (status > 499 || status === 429 || status === 408)
        pause = +answer.headers.get("Retry-After") || 1;
    } catch (error) {
      log(error);
      pause = 1;
    }
    busy = false;
    away = 0;
    if (pause) {
      pause = Math.max(pause, Math.min(2 ** failures++, 60)) * (1 + Math.random() / 2);
      timer = setTimeout(send, pause * 1e3);
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
      if (!timer) queueMicrotask(send);
    },
    send,
    leave() {
      keep();
      for (let part; (part = chunk(away))[0]; away += part.length) {
        const body = envelope(part);
        if (!body || !navigator.sendBeacon(endpoint, body)) break;
      }
    },
    clear() {
      events = [];
      local((storage) => storage.removeItem(own));
    }
  };
};

// src/privacy.ts
var excluded = (options) => {
  const { gpc, dnt, bots, localhost, frames } = options;
  const browser = navigator;
  if (gpc !== false && browser.globalPrivacyControl) return "Global Privacy Control";
  if (dnt && browser.doNotTrack === "1") return "Do Not Track";
  if (!bots && browser.webdriver) return "an automated browser";
  if (!localhost && /^(file:|https?:\/\/(localhost|127\.|\[::1]))/.test(location.href)) return "localhost";
  if (!frames && self !== top && (self.origin === "null" || frameElement?.hasAttribute("sandbox")))
    return "a sandboxed frame";
};
var CAMPAIGN = /^utm_|cl(k|ck)?id$|^[gw]braid$/i;
var SECRET_NAME = /token|code|key|secret|pass|auth|session|^sid$|mail|phone|otp|sig|jwt|nonce|state/i;
var SECRET_VALUE = /@|%40|^(?=.*\d)[\w.~+/=%-]{20,}$/i;
var scrub = (url, options) => {
  const allowed = options.query && `${options.query}`.split(",");
  return url.replace(/\/\/[^/?#]*@/, "//").replace(
    /([?&#]([^=&#?]*)=)([^&#]*)/g,
    (all, start2, name, value) => (allowed ? allowed.includes(name) : CAMPAIGN.test(name) || !(SECRET_NAME.test(name) || SECRET_VALUE.test(value))) ? all : start2 + "*"
  );
};

// src/elements.ts
var CLICKABLE = "a,area,button,summary,[data-track],[role=button],[type=submit],[type=button],[type=image]";
var DOWNLOAD = /\.(7z|apk|csv|dmg|docx?|epub|exe|gz|iso|mp[34]|msi|odt|pdf|pkg|pptx?|rar|txt|xlsx?|zip)$/i;
var attribute = (element, name) => Element.prototype.getAttribute.call(element, name) ?? void 0;
var path = (event) => {
  const elements = event.composedPath().filter((node) => node instanceof Element);
  return elements.some((element) => attribute(element, "data-track-ignore") != null) ? [] : elements;
};
var resolve = (href) => Object.assign(document.createElement("a"), { href });
var report = (elements, name, data, track) => {
  const named = elements.find((element) => attribute(element, "data-track"));
  for (const { name: name2, value } of named?.attributes ?? [])
    if (name2.startsWith("data-track-")) data[name2.slice(11)] = value;
  track(named && attribute(named, "data-track") || name, data);
};
var watchClicks = (options, on, track) => {
  const click = (event) => {
    const elements = path(event);
    const element = elements.find((element2) => element2.matches(CLICKABLE));
    if (!element || event.button > 1) return;
    const data = {
      tag: element.localName,
      elementId: attribute(element, "id"),
      text: element.textContent?.trim().slice(0, 80)
    };
    const href = attribute(element, "href") ?? attribute(element, "xlink:href");
    if (href != null) {
      const { href: url, protocol, host, pathname } = resolve(href);
      data.href = scrub(url, options);
      data.kind = !/^http/.test(protocol) ? protocol.slice(0, -1) : attribute(element, "download") != null || DOWNLOAD.test(pathname) ? "download" : host !== location.host ? "outbound" : "link";
    }
    report(elements, "click", data, track);
  };
  on(window, "click", click);
  on(window, "auxclick", click);
};
var watchForms = (options, on, track) => {
  const submit = (event) => {
    const elements = path(event);
    const form = elements[0];
    if (!form) return;
    const { submitter } = event;
    report(
      elements,
      "form_submit",
      {
        elementId: attribute(form, "id"),
        name: attribute(form, "name"),
        method: attribute(form, "method"),
        action: scrub(resolve(attribute(form, "action") || "").href, options),
        fields: Element.prototype.querySelectorAll.call(form, "input,select,textarea").length,
        submitter: submitter ? attribute(submitter, "name") : void 0
      },
      track
    );
  };
  const enter = (event) => {
    for (const node of event.composedPath()) if (node instanceof ShadowRoot) on(node, "submit", submit);
  };
  on(window, "submit", submit);
  on(window, "focusin", enter);
  on(window, "click", enter);
};

// src/pages.ts
var watchPages = ({ spa, replaceState }, on, view) => {
  const page = () => location.pathname + (spa === "path" ? "" : location.search) + (spa === "hash" ? location.hash : "");
  let last;
  let due = true;
  const look = () => {
    if (due && !document.hidden && !document.prerendering) {
      due = false;
      last = page();
      view();
    }
  };
  const moved = (replaced) => {
    due || (due = page() !== last && (!replaced || !!replaceState));
    look();
  };
  look();
  on(document, "visibilitychange", look);
  on(document, "prerenderingchange", look);
  on(window, "pageshow", (event) => {
    due || (due = event.persisted);
    look();
  });
  if (spa === "off") return;
  const { navigation } = window;
  if (navigation) {
    on(
      navigation,
      "currententrychange",
      (event) => moved(event.navigationType === "replace")
    );
  } else {
    for (const name of ["pushState", "replaceState"]) {
      const original = history[name];
      history[name] = function(...state) {
        original.apply(this, state);
        moved(name === "replaceState");
      };
    }
    on(window, "popstate", () => moved());
    on(window, "hashchange", () => moved());
  }
};

// src/tracker.ts
var OPTED_OUT = "weir.optout";
var start = (options, earlier) => {
  const { projectKey, storage, beforeSend } = options;
  let silenced = excluded(options) || local((storage2) => storage2.getItem(OPTED_OUT));
  let consent = options.consent === "pending" ? void 0 : true;
  let visitor;
  let userId;
  let common = {};
  let referrer = document.referrer;
  let viewed;
  const log = (...words) => {
    if (options.debug) console.log("weir", ...words);
  };
  const guarded = (work) => (...inputs) => {
    try {
      return work(...inputs);
    } catch (error) {
      log(error);
    }
  };
  const on = (target, type, listener) => target.addEventListener(type, guarded(listener), true);
  const open = () => consent && !silenced && !document.prerendering;
  const visitorId = () => open() && storage !== "none" ? visitor || (visitor = readVisitor(options)) : void 0;
  const envelope = (events) => open() ? JSON.stringify({
    projectKey,
    source: "snippet",
    visitorId: visitorId(),
    // Anew at each attempt: it tells a late event from a wrong clock.
    sentAt: /* @__PURE__ */ new Date(),
    events: []
  }).replace(/]}$/, () => events + "]}") : void 0;
  const queue = createQueue(
    options.endpoint,
    storage !== "none" && `weir.${projectKey}.`,
    envelope,
    log
  );
  const track = (type, data, at, url) => {
    if (silenced || consent === false || !type) return log("not sent", type, silenced || "no consent");
    let event = {
      type: `${type}`,
      url: scrub(url || location.href, options),
      referrer: scrub(referrer, options),
      data: { ...common, ...data },
      timestamp: new Date(at || Date.now()).toISOString(),
      eventId: uuid(),
      ...userId ? { userId } : {}
    };
    const hook = typeof beforeSend === "string" ? window[beforeSend] : beforeSend;
    if (hook) event = hook(event);
    log(event);
    if (event) queue.add(JSON.stringify(event));
  };
  const view = (data, at, url) => {
    referrer = viewed || referrer;
    viewed = url || location.href;
    track("pageview", data, at, url);
  };
  const forget = () => {
    visitor = void 0;
    queue.clear();
    forgetVisitor(options);
  };
  const calls = {
    // No name of an event leads to what every object has.
    __proto__: null,
    track: (name, data, at, url) => track(name, data, at, url),
    page: (data, _, at, url) => view(data, at, url),
    identify: (id) => {
      userId = id;
    },
    set: (data) => {
      common = { ...common, ...data };
    },
    consent: (granted) => {
      consent = !!granted;
      if (consent) queue.send();
      else forget();
    },
    optOut: () => {
      silenced = "opted out";
      forget();
      local((storage2) => storage2.setItem(OPTED_OUT, "1"));
    },
    optIn: () => {
      local((storage2) => storage2.removeItem(OPTED_OUT));
      silenced = excluded(options);
    },
    visitorId,
    flush: () => queue.send()
  };
  const call = guarded(([name, first, second], at, url) => {
    const known = calls[name];
    return known ? known(first, second, at, url) : track(name, first, at, url);
  });
  earlier?.(call);
  on(document, "visibilitychange", () => document.hidden ? queue.leave() : queue.send());
  on(document, "prerenderingchange", queue.send);
  on(window, "pagehide", queue.leave);
  on(window, "online", queue.send);
  if (options.clicks !== false) watchClicks(options, on, track);
  if (options.forms !== false) watchForms(options, on, track);
  if (options.pageviews !== false) guarded(watchPages)(options, on, view);
  queue.send();
  return call;
};

// src/index.ts
var createTracker = (options) => {
  const call = start(options);
  return ((...args) => call(args));
};
export {
  createTracker
};
