// What has happened, the newest first.

import { copyOf, one, put, set, shape } from "./dom.js";
import { relative, withoutName } from "./words.js";

const FEW = 8;
const LEVELS = { warning: ["Warning: ", "unavailable"], error: ["Error: ", "error"] };

export class Events {
  constructor(root) {
    this.list = one(root, "events");
    this.none = one(root, "no-events");
    this.more = one(root, "all-events");
    this.times = [];
    this.seen = "";
    this.showsAll = false;
    this.more.addEventListener("click", () => this.toggle());
  }

  show(events, now) {
    const seen = JSON.stringify(events);
    if (seen === this.seen) return;
    this.seen = seen;
    this.events = [...events].sort((one, other) => other.at - one.at);
    this.draw(now);
  }

  toggle() {
    this.showsAll = !this.showsAll;
    set(this.more, "aria-expanded", this.showsAll);
    this.draw(this.now);
  }

  draw(now) {
    const shown = this.showsAll ? this.events : this.events.slice(0, FEW);
    this.list.replaceChildren(...shown.map(item));
    this.times = shown.map((event, at) => [one(this.list.children[at], "time"), event.at]);
    this.none.hidden = shown.length > 0;
    this.more.hidden = this.events.length <= FEW;
    put(this.more, this.showsAll ? "Show the latest" : `Show all ${this.events.length}`);
    this.tick(now);
  }

  tick(now) {
    this.now = now;
    for (const [element, at] of this.times) put(element, relative(at, now));
  }
}

function item({ at, level, credential, route, text }) {
  const root = copyOf("event");
  const [word, form] = LEVELS[level] ?? ["", "info"];
  set(root, "data-level", level);
  shape(one(root, "shape"), form);
  put(one(root, "level"), word);
  put(one(root, "whose"), credential ?? route ?? "");
  put(one(root, "text"), withoutName(text, credential));
  const then = new Date(at * 1000);
  set(one(root, "time"), "datetime", then.toISOString());
  set(one(root, "time"), "title", then.toLocaleString());
  return root;
}
