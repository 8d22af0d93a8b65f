// src/guard.ts
var debug;
var listenIn = (wanted) => {
  debug || (debug = wanted);
};
var log = (...words) => {
  if (debug) console.log("weir", ...words);
};
var guarded = (work) => (...inputs) => {
  try {
    return work(...inputs);
  } catch (error) {
    log(error);
  }
};
var on = (types, listener, target = window) => {
  for (const type of types.split(" ")) target.addEventListener(type, guarded(listener), true);
};

// src/device.ts
var VISITOR = "weir.visitor";
var KEPT = 3e7;
var uuid = () => "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(
  /x/g,
  () => (crypto.getRandomValues(new Uint8Array(1))[0] & 15).toString(16)
);
var readVisitor = guarded(
  ({ storage }) => storage === "cookie" ? document.cookie.match(`${VISITOR}=([^;]+)`)?.[1] : localStorage[VISITOR]
);
var keepVisitor = guarded(({ storage, cookieDomain }, id) => {
  if (storage === "cookie")
    document.cookie = `${VISITOR}=${id};domain=${cookieDomain || ""};max-age=${id ? KEPT : 0};samesite=lax;path=/`;
  else if (id) localStorage[VISITOR] = id;
  else delete localStorage[VISITOR];
});

// src/delivery.ts
var BODY_BYTES = 5e4;
var EVENT_BYTES = 6e4;
var KEPT_CHARACTERS = 1e6;
var size = (text) => new TextEncoder().encode(text).length;
var createQueue = (endpoint, kept, open, envelope) => {
  const own = kept + uuid();
  let events = [];
  let characters = 0;
  let away = 0;
  let busy;
  let adopted;
  let failures = 0;
  let timer;
  let until = 0;
  const chunk = (start2) => {
    let bytes = 0;
    return events.slice(start2).filter((event, at) => (bytes += size(event)) <= BODY_BYTES || !at);
  };
  const post = (body) => fetch(endpoint, { credentials: "omit", body, method: "POST", keepalive: true });
  const keep = guarded(() => {
    const text = JSON.stringify(events);
    characters = text.length;
    if (kept && events[0] && open()) localStorage[own] = text;
    else delete localStorage[own];
  });
  const adopt = guarded(() => {
    adopted = true;
    for (const name in localStorage)
      if (kept && name.startsWith(kept)) {
        const found = localStorage[name];
        delete localStorage[name];
        events = [.../* @__PURE__ */ new Set([...JSON.parse(found), ...events])];
      }
    keep();
  });
  const send = async () => {
    if (until > Date.now() || busy || (timer = clearTimeout(timer)) || !open()) return;
    if (!adopted) adopt();
    const part = chunk(0);
    if (!part[0]) return;
    away = part.length;
    busy = true;
    keep();
    let pause = -1;
    try {
      const answer = await post(envelope(part));
      log(await answer.text());
      if (/^(429|408|5)/.test(answer.status))
        pause = answer.headers.get("Retry-After") >>> 0;
    } catch (error) {
      log(error);
      pause = 0;
    }
    busy = false;
    away = 0;
    until = Date.now() + pause * 1e3;
    if (pause < 0) {
      failures = 0;
      events = events.filter((event) => !part.includes(event));
      send();
    } else {
      timer = setTimeout(send, (pause + Math.min(2 ** failures++, 60) * (0.5 + Math.random())) * 1e3);
    }
    keep();
  };
  return {
    add(event) {
      if (size(event) > EVENT_BYTES) return log("dropped", event);
      characters += event.length;
      events.push(event);
      while (characters > KEPT_CHARACTERS && events[1]) characters -= events.shift().length;
      if (!timer) queueMicrotask(send);
    },
    send,
    leave() {
      keep();
      for (let part; open() && (part = chunk(away))[0]; ) {
        const body = envelope(part);
        if (!navigator.sendBeacon?.(endpoint, body)) post(body).catch(log);
        away += part.length;
      }
    },
    clear() {
      adopt();
      events = [];
      keep();
    }
  };
};

// src/elements.ts
var CLICKABLE = "area,button,[role=button],[type=button],a,[type=submit],[data-track]";
var DOWNLOAD = /\.(pdf|csv|docx?|mp.|exe|pptx?|gz|txt|xlsx?|zip)$/i;
var attribute = (element, name) => element.getAttribute(name) || void 0;
var path = (event) => {
  const elements = event.composedPath().filter((node) => node.nodeType === 1);
  return elements.find((element) => element.matches("[data-track-ignore]")) ? [] : elements;
};
var resolve = (href) => new URL(href, document.baseURI);
var report = (elements, name, data, track) => {
  const named = elements.find((element) => element.matches("[data-track]"));
  for (const { name: name2, value } of named?.attributes ?? [])
    if (name2.startsWith("data-track-")) data[name2.slice(11)] = value;
  track(named?.dataset.track || name, data);
};
var watchClicks = (track, scrub) => {
  let last;
  const click = (event) => {
    const elements = path(event).filter((element2) => !element2.matches("form"));
    const element = elements.find((element2) => element2.matches(CLICKABLE));
    const when = event.timeStamp + event.detail;
    if (!element || event.button > 1 || when === last) return;
    last = when;
    const data = {
      elementId: attribute(element, "id")
    };
    const href = attribute(element, "href") || attribute(element, "xlink:href");
    if (href) {
      const { href: url, protocol, host, pathname } = resolve(href);
      data.href = /^[djb]/.test(protocol) ? protocol : scrub(url);
      data.kind = !/^http/.test(protocol) ? protocol.slice(0, -1) : element.hasAttribute("download") || DOWNLOAD.test(pathname) ? "download" : host !== location.host ? "outbound" : "link";
    }
    report(elements, "click", data, track);
  };
  on("auxclick click", click);
};
var watchForms = (track, scrub) => {
  let last;
  const submit = guarded((event) => {
    const elements = path(event);
    const form = elements[0];
    if (!form || event === last) return;
    last = event;
    const { submitter } = event;
    report(
      elements,
      "form_submit",
      {
        elementId: attribute(form, "id"),
        name: attribute(form, "name"),
        method: attribute(form, "method"),
        action: scrub(resolve(attribute(form, "action") || "").href),
        fields: form.querySelectorAll("input,select,textarea").length,
        submitter: submitter?.getAttribute("name")
      },
      track
    );
  });
  const enter = (event) => {
    for (const node of path(event)[0] ? event.composedPath() : [])
      if (node.host) node.addEventListener("submit", submit, true);
  };
  on("submit", submit);
  on("keydown click", enter);
};

// src/pages.ts
var watchPages = guarded(({ spa, replaceState }, view) => {
  const page = () => location.pathname + (spa !== "path" ? location.search : "") + (spa === "hash" ? location.hash : "");
  let last;
  let due = true;
  const look = () => {
    if (due && !document.hidden) {
      due = false;
      last = page();
      view();
    }
  };
  const moved = guarded((replaced) => {
    if (replaced && !replaceState) last = page();
    else due || (due = page() !== last);
    look();
  });
  look();
  on("pageshow visibilitychange", (event) => {
    due || (due = event.persisted);
    look();
  });
  if (spa === "off") return;
  const { navigation } = window;
  if (navigation) {
    on(
      "currententrychange",
      (event) => moved(event.navigationType === "replace"),
      navigation
    );
  } else {
    for (const name of ["replaceState", "pushState"]) {
      const original = history[name];
      history[name] = function(...state) {
        original.apply(this, state);
        moved(name === "replaceState");
      };
    }
    on("popstate hashchange", () => moved());
  }
});

// src/privacy.ts
var excluded = ({ gpc, dnt, bots, localhost, frames }) => {
  const browser = navigator;
  if (gpc !== false && browser.globalPrivacyControl) return "gpc";
  if (dnt && browser.doNotTrack === "1") return "dnt";
  if (!bots && browser.webdriver) return "bots";
  if (!localhost && /^file|^\w+:\/\/(127\.|localhost[:/]|\[::1])/.test(location.href)) return "localhost";
  if (!frames && self !== top && (origin === "null" || frameElement?.hasAttribute("sandbox"))) return "frame";
};
var CAMPAIGN = /^utm_|clc?k?id$|braid$/i;
var SECRET_NAME = /token|otp|code|pwd|passw|secret|mail|phone|sess|(auth|pass|sig|key)$/i;
var EMAIL = /@|%(25)?40|%3f/i;
var MACHINE_MADE = /^(?=.*\d)([\w./=-]|%(2[bf]|3d)){20,}$/i;
var URL_CHARACTERS = 8e3;
var scrubber = ({ query }) => (url) => url.replace(/\/\/[^/?#]*@/, "//").replace(
  /([?&#]([^=&#?]*)=)([^?&#]*)/g,
  (all, start2, name, value) => (query ? `${query}`.split(",").includes(name) : !EMAIL.test(value) && (CAMPAIGN.test(name) || !(SECRET_NAME.test(name) || MACHINE_MADE.test(value)))) ? all : `${start2}*`
).slice(0, URL_CHARACTERS);

// src/tracker.ts
var OPTED_OUT = "weir.out";
var start = (options, earlier) => {
  const { projectKey, storage, beforeSend } = options;
  listenIn(options.debug);
  let silenced = excluded(options) || guarded(() => localStorage[OPTED_OUT])();
  let consent = (options.consent ?? "granted") === "granted" || void 0;
  let visitor;
  let userId;
  let common = {};
  let referrer = document.referrer;
  let viewed;
  const open = () => consent && !silenced && !document.prerendering;
  const visitorId = () => {
    if (open() && storage !== "none" && !visitor) {
      keepVisitor(options, visitor = readVisitor(options) || uuid());
    }
    return visitor;
  };
  const envelope = (events) => JSON.stringify({
    projectKey,
    source: "snippet",
    visitorId: visitorId(),
    // Anew at each attempt: it tells a late event from a wrong clock.
    sentAt: /* @__PURE__ */ new Date(),
    events: events.map((event) => JSON.parse(event))
  });
  const queue = createQueue(
    options.endpoint,
    // No key has a space in it, so none of these names begins like another project's.
    storage !== "none" && `weir.${projectKey} `,
    open,
    envelope
  );
  const scrub = scrubber(options);
  const track = (type, data, at = Date.now(), url = location.href) => {
    if (silenced || consent === false || !type) return log("dropped", type, silenced);
    let event = {
      type: `${type}`,
      url: scrub(url),
      referrer: scrub(referrer),
      data: { ...common, ...data },
      timestamp: new Date(at),
      eventId: uuid(),
      userId
    };
    const hook = window[beforeSend] || beforeSend;
    if (hook) event = hook(event);
    log(event);
    if (event) queue.add(JSON.stringify(event));
  };
  const page = (data, _, at, url = location.href) => {
    if (viewed !== url) referrer = viewed || referrer;
    viewed = url;
    track("pageview", data, at, url);
  };
  const forget = () => {
    visitor = void 0;
    queue.clear();
    keepVisitor(options);
  };
  const calls = {
    // No name of an event leads to what every object has.
    __proto__: null,
    track,
    page,
    identify(id) {
      userId = `${id ?? ""}`;
    },
    set(data) {
      common = { ...common, ...data };
    },
    consent(granted) {
      consent = granted === true;
      if (consent) queue.send();
      else forget();
    },
    optOut() {
      silenced = OPTED_OUT;
      forget();
      localStorage[OPTED_OUT] = OPTED_OUT;
    },
    optIn() {
      silenced = excluded(options);
      delete localStorage[OPTED_OUT];
    },
    visitorId,
    flush: queue.send
  };
  const call = guarded(([name, first, second], at, url) => {
    const known = calls[name];
    return known ? known(first, second, at, url) : track(name, first, at, url);
  });
  earlier?.(call);
  on("online visibilitychange prerenderingchange", () => document.hidden ? queue.leave() : queue.send());
  on("pagehide", queue.leave);
  if (options.clicks !== false) watchClicks(track, scrub);
  if (options.forms !== false) watchForms(track, scrub);
  if (options.pageviews !== false) watchPages(options, page);
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
