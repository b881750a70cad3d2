// Small charts: a bar for each step of time, drawn as one path, and the same in words.

import { copyOf, one, put, set } from "./dom.js";
import { length } from "./words.js";

const HEIGHT = 24;
const LOWEST = 0.6; // of what is more than nothing: it must be seen
const BAR = 0.72; // of a step's width

/** One path of bars, from the bottom up; null and 0 leave a gap. */
function bars(values, top) {
  const bar = (value, step) => {
    const y = HEIGHT - Math.max(LOWEST, (HEIGHT * value) / top);
    return `M${step} ${HEIGHT}V${y.toFixed(2)}h${BAR}V${HEIGHT}z`;
  };
  return values.map((value, step) => (value ? bar(value, step) : "")).join("");
}

export class Chart {
  constructor(title, kind) {
    this.root = copyOf("chart");
    set(this.root, "data-kind", kind);
    this.title = title;
    put(one(this.root, "title"), title);
  }

  /** `near` stands before `far`, on one scale that is never below `least`. */
  show({ near, far = [], least, step, value, note, words }) {
    const top = Math.max(least, ...near, ...far);
    const drawing = one(this.root, "drawing");
    set(drawing, "viewBox", `0 0 ${near.length || 1} ${HEIGHT}`);
    set(one(this.root, "near"), "d", bars(near, top));
    set(one(this.root, "far"), "d", bars(far, top));
    set(drawing, "aria-label", `${this.title} in the last ${length(step * near.length)}: ${words}`);
    put(one(this.root, "value"), value);
    put(one(this.root, "note"), note);
    put(one(this.root, "since"), `${length(step * near.length)} ago`);
  }
}
