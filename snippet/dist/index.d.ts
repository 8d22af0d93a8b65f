import type { Options, Tracker } from './api';
export type { Options, Properties, TrackedEvent, Tracker } from './api';
/** Starts a tracker. `endpoint` has to be given: a bundle does not know where its collector is. */
export declare const createTracker: (options: Options & {
    endpoint: string;
}) => Tracker;
