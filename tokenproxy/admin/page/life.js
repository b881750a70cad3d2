// The bar of a token's life: from where it was issued to its end, with a mark where it is due.

import { one, put, set } from "./dom.js";
import { clockTime, duration, length, relative } from "./words.js";

const TENTH = 10; // seconds; below it the words show tenths

export class Life {
  constructor(card) {
    this.card = card;
    this.root = one(card, "life");
    this.bar = one(card, "bar");
  }

  /** Take up what the server says, at the time `now`. */
  show({ issued_at: issued, expires_at: expires, renews_at: due, token }, now) {
    const hasToken = token !== null || expires !== null;
    Object.assign(this, { issued, expires, due });
    this.isKnown = issued !== null && expires > issued;
    this.bar.hidden = !this.isKnown;
    this.root.hidden = !hasToken;
    this.card.classList.toggle("unmarked", !this.isKnown || due === null || due >= expires);
    if (this.isKnown) this.place("--due", due === null ? 1 : (due - issued) / this.whole());
    put(one(this.root, "issued"), issued === null ? "" : `issued ${clockTime(issued, now)}`);
    put(one(this.root, "expires"), expires === null ? "" : `ends ${clockTime(expires, now)}`);
    this.tell(now);
    this.tick(now);
  }

  whole() {
    return this.expires - this.issued;
  }

  /** For those who hear the page: as of the last word of the server, not of each frame. */
  tell(now) {
    if (!this.isKnown) return;
    const left = Math.max(0, this.expires - now);
    set(this.bar, "aria-valuenow", Math.min(100, Math.round((100 * left) / this.whole())));
    set(this.bar, "aria-valuetext", `${length(Math.round(left))} left of ${length(this.whole())}`);
  }

  tick(now) {
    if (this.isKnown) this.place("--spent", (now - this.issued) / this.whole());
    put(one(this.root, "amount"), this.amount(now));
    put(one(this.root, "of"), this.of(now));
    put(one(this.card, "due"), this.due === null ? "–" : this.due <= now ? "now" : relative(this.due, now));
  }

  amount(now) {
    if (this.expires === null) return "No known end";
    return now < this.expires ? duration(this.expires - now) : `Ended ${relative(this.expires, now)}`;
  }

  of(now) {
    if (this.expires === null) return "used until it is rejected";
    if (now >= this.expires) return "";
    return this.isKnown ? `left of ${length(this.whole())}` : "left";
  }

  place(name, share) {
    this.bar.style.setProperty(name, Math.min(1, Math.max(0, share)).toFixed(5));
  }

  /** Seconds until something would be seen to move: half a pixel, or the last digit. */
  pause(now) {
    if (!this.isKnown || now >= this.expires) return 1;
    const digit = this.expires - now < TENTH ? 0.1 : 1;
    return Math.min(digit, this.whole() / (2 * this.bar.clientWidth || 1));
  }
}
