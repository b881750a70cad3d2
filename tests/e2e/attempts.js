// What a page can try at an address that is none of its own. An attempt takes the address, and
// resolves with what the page came to know: "read …" where it got to see anything of the answer.

const seen = async (answer) => {
  const { type, status } = await answer;
  return type === "opaque" ? "opaque" : `read ${status}`;
};

const added = (tag, more) => {
  const element = Object.assign(document.createElement(tag), more);
  document.body.append(element);
  return element;
};

// An element that shows by its events whether it could use the answer.
const used = (tag, more) =>
  new Promise((resolve) => {
    const events = { onload: () => resolve("read it"), onerror: () => resolve("error") };
    added(tag, { ...events, ...more });
  });

// A frame, once it has been filled: it shows that it loaded and no more, unless its document is the
// page's own to read.
const framed = (fill) =>
  new Promise((resolve) => {
    const frame = added("iframe", { name: `frame-${Math.random()}` });
    frame.onload = () => resolve(frame.contentDocument ? "read it" : "a frame");
    fill(frame);
  });

const form = (action, target, more = {}) => {
  const made = added("form", { action, target, method: "post", enctype: "text/plain", ...more });
  made.append(Object.assign(document.createElement("input"), { name: "a", value: "b" }));
  made.submit();
  return "sent";
};

// A page without an origin: what it is told, it passes on.
const sandboxed = (script) =>
  new Promise((resolve) => {
    addEventListener("message", ({ data }) => resolve(data), { once: true });
    const told = "then(() => 'opaque', () => 'error').then((it) => parent.postMessage(it, '*'))";
    added("iframe", { sandbox: "allow-scripts", srcdoc: `<script>${script}.${told}</script>` });
  });

const worker = (script) =>
  new Promise((resolve) => {
    const source = `let told = "read it"; try { ${script} } catch (e) { told = e.name } postMessage(told)`;
    const made = new Worker(URL.createObjectURL(new Blob([source])));
    made.onmessage = ({ data }) => resolve(data);
  });

const xhr = (url) =>
  new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.onload = () => resolve(`read ${request.status}`);
    request.onerror = () => resolve("error");
    request.open("GET", url);
    request.send();
  });

const events = (url) =>
  new Promise((resolve) => {
    const source = new EventSource(url);
    source.onopen = () => resolve("read it");
    source.onerror = () => resolve("error") ?? source.close();
  });

const socket = (url) =>
  new Promise((resolve) => {
    const made = new WebSocket(url.replace("http", "ws"));
    made.onopen = () => resolve("read it");
    made.onclose = ({ code }) => resolve(`closed ${code}`);
  });

const text = { method: "POST", body: "a=b", mode: "no-cors" };

const attempts = {
  "fetch": (url) => seen(fetch(url)),
  "fetch-no-cors": (url) => seen(fetch(url, { mode: "no-cors" })),
  "fetch-with-cookies": (url) => seen(fetch(url, { credentials: "include" })),
  "fetch-header": (url) => seen(fetch(url, { headers: { "X-Custom": "1" } })),
  "fetch-authorization": (url) => seen(fetch(url, { headers: { Authorization: "Basic YTpi" } })),
  "fetch-put": (url) => seen(fetch(url, { method: "PUT", body: "a" })),
  "fetch-delete": (url) => seen(fetch(url, { method: "DELETE" })),
  "fetch-post": (url) => seen(fetch(url, { ...text, mode: "cors" })),
  "fetch-post-no-cors": (url) => seen(fetch(url, text)),
  "fetch-post-no-referrer": (url) => seen(fetch(url, { ...text, referrerPolicy: "no-referrer" })),
  "fetch-post-redirected": (url, away) => seen(fetch(away + encodeURIComponent(url), text)),
  "fetch-keepalive": (url) => seen(fetch(url, { ...text, keepalive: true })),
  "fetch-sandboxed": (url) => sandboxed(`fetch("${url}", ${JSON.stringify(text)})`),
  "xhr": xhr,
  "worker": (url) => worker(`importScripts("${url}")`),
  "image": (url) => used("img", { src: url }),
  "image-redirected": (url, away) => used("img", { src: away + encodeURIComponent(url) }),
  "image-cors": (url) => used("img", { crossOrigin: "use-credentials", src: url }),
  "script": (url) => used("script", { src: url }),
  "script-module": (url) => used("script", { type: "module", src: url }),
  "stylesheet": (url) => used("link", { rel: "stylesheet", href: url }),
  "prefetch": (url) => used("link", { rel: "prefetch", href: url }),
  "font": (url) => new FontFace("f", `url("${url}")`).load().then(() => "read it"),
  "video": (url) => used("video", { src: url }),
  "frame": (url) => framed((frame) => (frame.src = url)),
  "form-in-frame": (url) => framed(({ name }) => form(url, name)),
  "form-get-in-frame": (url) => framed(({ name }) => form(url, name, { method: "get" })),
  "event-source": events,
  "web-socket": socket,
  "beacon": (url) => (navigator.sendBeacon(url, "a=b") ? "queued" : "refused"),
};

// Each opens a window, which takes the page out of sight.
const departures = {
  "form-navigates": (url) => form(url, "_blank"),
  "form-no-referrer": (url) => form(url, "_blank", { rel: "noreferrer" }),
  "window-open": (url) => (window.open(url) ? "opened" : "blocked"),
  "link": (url) => added("a", { href: url, target: "_blank" }).click() ?? "followed",
  "link-no-referrer": (url) =>
    added("a", { href: url, target: "_blank", rel: "noreferrer" }).click() ?? "followed",
};

// Each of them at a path of its own name: [name, what it came to know]. Out of sight a page's frames
// may stand still, so windows are opened last.
const trying = (some, base, away) =>
  Promise.all(
    Object.entries(some).map(async ([name, attempt]) => {
      const told = Promise.resolve(attempt(base + name, away)).catch((error) => error.name);
      return [name, await told];
    }),
  );
const tryAll = async (base, away) => [
  ...(await trying(attempts, base, away)),
  ...(await trying(departures, base, away)),
];
