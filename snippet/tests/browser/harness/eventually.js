// Waiting for conditions: no test sleeps and hopes.

/** How long anything may take before a test gives up on it, in milliseconds. */
export const PATIENCE = 8_000;

/** @param {number} milliseconds */
export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * Asks until the answer is neither undefined, null nor false, and gives it.
 * @template T
 * @param {string} what for the message, should it never come
 * @param {() => T | undefined | null | false | Promise<T | undefined | null | false>} ask
 * @param {number} [patience] in milliseconds
 * @returns {Promise<T>}
 */
export async function eventually(what, ask, patience = PATIENCE) {
  const deadline = Date.now() + patience;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== null && answer !== false) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${patience} ms in vain for ${what}`);
    await pause(40);
  }
}

/** Something that waits until it is let through. */
export function gate() {
  /** @type {(value?: unknown) => void} */
  let open = () => {};
  const opened = new Promise((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}
