// What stands between us and the page: nothing of ours throws into it, and only who asks for it hears of us.

let debug: unknown;

/** Has the console told of everything from now on. */
export const listenIn = (wanted: unknown) => {
  debug ||= wanted;
};

export const log = (...words: unknown[]) => {
  if (debug) console.log('weir', ...words);
};

/** The same work, which gives nothing where it would throw. */
export const guarded =
  <A extends unknown[], T>(work: (...inputs: A) => T) =>
  (...inputs: A): T | undefined => {
    try {
      return work(...inputs);
    } catch (error) {
      log(error);
    }
  };

/**
 * Listens to these types of events, on their way down from the window if nothing else is named: before anybody can
 * stop them.
 */
export const on = (types: string, listener: (event: Event) => void, target: EventTarget = window) => {
  for (const type of types.split(' ')) target.addEventListener(type, guarded(listener), true);
};
