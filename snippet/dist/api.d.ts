/** Properties of an event: whatever JSON can hold. */
export type Properties = Record<string, unknown>;
/** An event on its way to the collector, as `beforeSend` sees it. */
export interface TrackedEvent {
    type: string;
    /** Without secrets, and no longer than 8,000 characters; so is the referrer. */
    url: string;
    referrer?: string;
    data?: Properties;
    /** When it happened; on its way it is ISO 8601. */
    timestamp: Date;
    /** A UUID: the collector stores an event once, however often it is sent. */
    eventId: string;
    userId: string | undefined;
}
/** Every option has a `data-` attribute of the same name on the script tag: `replaceState` is `data-replace-state`. */
export interface Options {
    /** The project's public key. */
    projectKey: string;
    /** Where events are posted. Default: `/api/events` on the host that the script comes from. */
    endpoint?: string;
    /** Page views of their own accord. Default: true. */
    pageviews?: boolean;
    /** Clicks on links, buttons and `data-track` of their own accord. Default: true. */
    clicks?: boolean;
    /** Submitted forms of their own accord. Default: true. */
    forms?: boolean;
    /** What makes another page of a single-page app: its path, path and query, or the hash as well. Default: query. */
    spa?: 'path' | 'query' | 'hash' | 'off';
    /** Whether `history.replaceState` makes another page too. Default: false. */
    replaceState?: boolean;
    /** Where the visitor's id lives; with none there is no id, and nothing is kept on the device. Default: local. */
    storage?: 'local' | 'cookie' | 'none';
    /** With storage cookie: the domain whose subdomains share the visitor's id. Default: this host alone. */
    cookieDomain?: string;
    /** Pending, or any other word: nothing is sent or kept on the device before `consent(true)`. Default: granted. */
    consent?: 'granted' | 'pending';
    /** Whether a browser's Global Privacy Control silences it. Default: true. */
    gpc?: boolean;
    /** Whether a browser's Do Not Track silences it. Default: false. */
    dnt?: boolean;
    /** Whether automated browsers (`navigator.webdriver`) count. Default: false. */
    bots?: boolean;
    /** Whether pages of localhost and of files count. Default: false. */
    localhost?: boolean;
    /** Whether pages in sandboxed frames count. Default: false. */
    frames?: boolean;
    /** The query parameters whose values are kept; a list, or names with commas, no spaces. Default: all but secrets. */
    query?: string[] | string;
    /** Changes an event before it is queued; giving nothing, or throwing, drops it. In an attribute: a global's name. */
    beforeSend?: ((event: TrackedEvent) => TrackedEvent | null | undefined | false) | string;
    /** Tells the console of every event, and why one is not sent. Default: false. */
    debug?: boolean;
}
/** All that can be asked of a tracker. */
export interface Tracker {
    /** Sends an event of this name. */
    (call: 'track', name: string, data?: Properties): void;
    /** Counts a view of the page as it is now. */
    (call: 'page', data?: Properties): void;
    /** The user's id on every event from now on; without one there is none. */
    (call: 'identify', userId?: string | number): void;
    /** Properties on every event from now on. */
    (call: 'set', data: Properties): void;
    /** The visitor's answer, for this page; false also takes what is kept from the device. */
    (call: 'consent', granted: boolean): void;
    /** Until `optIn` the visitor is not counted on this page, and on those of its origin that are opened from then on. */
    (call: 'optOut' | 'optIn'): void;
    /** The visitor's id; undefined where there is none. */
    (call: 'visitorId'): string | undefined;
    /** Sends at once what waits, but not before the time that the collector's `Retry-After` asks for. */
    (call: 'flush'): void;
    /** Any other name is an event's. */
    (name: string, data?: Properties): void;
}
