// The server's events, for as long as the page is looked at.
//
// EventSource comes back by itself after a broken connection, but gives up on an answer that is
// no stream (a proxy's error page), and never sees that a connection is dead. Both are mended
// here. A hidden page lets go: a browser opens only six connections to one server.

const SILENCE = 15_000; // ms; the server says something every 5 s
const LONGEST_PAUSE = 10_000; // ms between two tries

/** Follow the stream at `url`: `onStatus(status)` with each, `onLive(bool)` when that changes. */
export class Stream {
  constructor(url, onStatus, onLive) {
    Object.assign(this, { url, onStatus, onLive, pause: 500, source: null, timer: 0 });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    if (!document.hidden) this.open();
  }

  open() {
    this.close();
    this.source = new EventSource(this.url);
    this.source.addEventListener("status", (event) => this.heard(event));
    this.source.addEventListener("error", () => this.broken());
    this.expect(SILENCE);
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
  }

  heard(event) {
    this.pause = 500;
    this.expect(SILENCE);
    this.onLive(true);
    this.onStatus(JSON.parse(event.data));
  }

  broken() {
    this.onLive(false);
    if (this.source.readyState !== EventSource.CLOSED) return;
    this.pause = Math.min(2 * this.pause, LONGEST_PAUSE);
    this.expect(this.pause);
  }

  /** Begin anew, should nothing be heard for `ms`. */
  expect(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.onLive(false);
      this.open();
    }, ms);
  }
}

/** POST to the admin listener: what it answered, or an Error whose message is for people. */
export async function post(url) {
  const answer = await fetch(url, { method: "POST", redirect: "error" }).catch(() => {
    throw new Error("tokenproxy did not answer; see whether it still runs.");
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.detail ?? `tokenproxy answered with ${answer.status}.`);
  return body;
}
