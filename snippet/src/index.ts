// The package: a tracker for sites that bundle their own code. Importing it does nothing.

import type { Options, Tracker } from './api';
import { start } from './tracker';

export type { Options, Properties, TrackedEvent, Tracker } from './api';

/** Starts a tracker. `endpoint` has to be given: a bundle does not know where its collector is. */
export const createTracker = (options: Options & { endpoint: string }): Tracker => {
  const call = start(options);
  return ((...args: unknown[]) => call(args)) as Tracker;
};
