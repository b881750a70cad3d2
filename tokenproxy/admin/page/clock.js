// What time it is on the server: the browser's own clock may be wrong, or be set meanwhile.

let at = Date.now() / 1000;
let heard = performance.now();

/** The server has just said that it is `seconds` since the epoch. */
export function correct(seconds) {
  at = seconds;
  heard = performance.now();
}

/** Seconds since the epoch. */
export const now = () => at + (performance.now() - heard) / 1000;

const still = matchMedia("(prefers-reduced-motion: reduce)");
const SHORTEST = 16; // ms: a frame

/** Draw with `tick(now)`, again and again, `pause()` seconds apart: when something would be seen
 * to move. Who wants no motion sees a step a second. A hidden page draws nothing.
 */
export function animate({ tick, pause }) {
  const frame = () => {
    const seconds = still.matches ? 1 : pause();
    setTimeout(() => requestAnimationFrame(frame), Math.max(SHORTEST, seconds * 1000));
    tick(now());
  };
  frame();
}
