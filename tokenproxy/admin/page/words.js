// Times and numbers in words. All times are seconds.

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const number = new Intl.NumberFormat("en");

/** 1,204 */
export const count = (n) => number.format(n);

/** 1 renewal, 2 renewals */
export const counted = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

/** 4.2 s, 42 s, 3 min 42 s, 2 h 5 min, 3 d 4 h; the unit after next is never shown. */
export function duration(seconds) {
  if (seconds < 10) return `${Math.max(0, Math.floor(seconds * 10) / 10).toFixed(1)} s`;
  const [unit, name, below, belowName] = scale(seconds);
  const rest = Math.floor((seconds % unit) / (below || unit));
  return `${Math.floor(seconds / unit)} ${name}${below && rest ? ` ${rest} ${belowName}` : ""}`;
}

function scale(seconds) {
  if (seconds < MINUTE) return [1, "s"];
  if (seconds < HOUR) return [MINUTE, "min", 1, "s"];
  return seconds < DAY ? [HOUR, "h", MINUTE, "min"] : [DAY, "d", HOUR, "h"];
}

/** A length that stands still, to what matters of it: 2.5 s, 5 min, 1 h 30 min. */
export function length(seconds) {
  if (seconds < 10) return `${+seconds.toFixed(1)} s`;
  const grain = seconds < MINUTE ? 1 : seconds < HOUR ? 5 : MINUTE;
  return duration(Math.round(seconds / grain) * grain);
}

/** just now, 12 s ago, 4 min ago, in 8 s */
export function relative(at, now) {
  const seconds = at - now;
  if (Math.abs(seconds) < 1) return "just now";
  const rough = roughly(Math.abs(seconds));
  return seconds < 0 ? `${rough} ago` : `in ${rough}`;
}

function roughly(seconds) {
  const [unit, name] = scale(seconds);
  return `${Math.floor(seconds / unit)} ${name}`;
}

/** 14:02:11, in the way of who looks; with the date where it is another day than `now`. */
export function clockTime(at, now) {
  const then = new Date(at * 1000);
  const isToday = then.toDateString() === new Date(now * 1000).toDateString();
  return isToday ? then.toLocaleTimeString() : then.toLocaleString();
}

/** 0.4 ms, 42 ms, 1.2 s */
export function milliseconds(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms < 10 ? ms.toFixed(1) : count(Math.round(ms))} ms`;
}

/** What is told about a credential, where its name stands beside it anyway. */
export function withoutName(text, name) {
  return text.replace(`credential '${name}': `, "");
}

/** With a capital, as a sentence begins; an address stays as it is. */
export const sentence = (text) =>
  /^[a-z]+:\/\//.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);

/** a; a and b; a, b and c */
export function listed(parts) {
  const last = parts[parts.length - 1];
  return parts.length < 2 ? (last ?? "") : `${parts.slice(0, -1).join(", ")} and ${last}`;
}
