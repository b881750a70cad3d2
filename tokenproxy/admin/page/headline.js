// Ready or not, and why, in one sentence; and what else one should know.

import { one, put, set } from "./dom.js";
import { clockTime, counted, duration, length, listed, relative } from "./words.js";

/** How the states of credentials, and warnings about them, continue a sentence. */
const PHRASES = {
  empty: "has no token yet",
  expired: "has a token that is over",
  renewing: "is being renewed",
  unavailable: "gets no token from its issuer",
  login_required: "needs a person",
  not_persisted: "has a token that could not be stored and would not outlive a restart",
  renewal_failed: "could not be renewed, but its token is still good",
};

const PROCESS = { starting: "tokenproxy is starting", stopping: "tokenproxy is stopping" };
const GOOD = ["fresh", "ageing"];
const BAD = ["unavailable", "login_required"];
const MOST_NAMES = 3; // in one sentence

/** `shop: login_required` as a part of a sentence; any other reason stands as it is. */
function phrase(reason, credentials) {
  if (PROCESS[reason]) return PROCESS[reason];
  const [, name, word] = /^([^:]+): (\w+)$/.exec(reason) ?? [];
  return Object.hasOwn(PHRASES, word ?? "") ? `${name} ${how(word, credentials[name])}` : reason;
}

const how = (state, credential) =>
  state === "login_required" && credential?.sign_in ? "needs a person to sign in" : PHRASES[state];

function sentence({ ready, reasons, credentials }) {
  if (!ready) return `Not ready: ${listed(reasons.map((reason) => phrase(reason, credentials))) || "it has not begun to serve"}.`;
  const names = Object.keys(credentials);
  const bad = names.filter((name) => BAD.includes(credentials[name].state));
  if (bad.length) return `Ready, but ${listed(bad.map((name) => `${name} ${how(credentials[name].state, credentials[name])}`))}.`;
  if (!names.length) return "Ready: nothing here needs a token.";
  const later = names.filter((name) => !GOOD.includes(credentials[name].state));
  return `Ready: ${later.length ? `${whose(later)} a token when it is needed` : all(names)}.`;
}

const all = (names) => (names.length === 1 ? `${names[0]} has a good token` : "every credential has a good token");

function whose(names) {
  const gets = names.length === 1 ? "gets" : "get";
  return `${names.length > MOST_NAMES ? `${names.length} credentials` : listed(names)} ${gets}`;
}

function notes({ warnings, config, credentials }, now) {
  const isNews = (warning) => !BAD.some((state) => warning.endsWith(`: ${state}`)); // the sentence has them
  const told = warnings.filter(isNews).map((warning) => `${phrase(warning, credentials)}.`);
  if (config?.error) {
    const since = config.loaded_at ? `the one read ${relative(config.loaded_at, now)}` : "the one before it";
    told.push(`The config file has changed and cannot be used (${config.error}); ${since} stays in use.`);
  }
  return told;
}

/** Show it all anew. */
export function showHeadline(status, now) {
  const headline = one(document, "headline");
  const text = sentence(status);
  put(one(headline, "sentence"), text);
  set(headline, "data-tone", !status.ready ? "bad" : text.startsWith("Ready,") ? "due" : "good");
  const list = one(headline, "notes");
  const told = notes(status, now);
  list.hidden = told.length === 0;
  if (told.join() !== list.dataset.told) list.replaceChildren(...told.map(note));
  list.dataset.told = told.join();
  document.title = `${status.ready ? "Ready" : "Not ready"} · tokenproxy`;
}

/** The page has lost the server: what it shows is of the past. */
export function showLost(status) {
  const headline = one(document, "headline");
  set(headline, "data-tone", "idle");
  put(one(headline, "sentence"), `No answer from tokenproxy${status ? "; this is how things stood." : "."}`);
  document.title = "No answer · tokenproxy";
}

function note(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

/** The line at the foot. */
export function facts({ version, uptime, config, workers }, now) {
  const connections = workers.reduce((total, worker) => total + worker.connections, 0);
  const told = [
    `tokenproxy ${version}, running for ${uptime < 60 ? length(Math.floor(uptime)) : duration(uptime)}`,
    `${counted(workers.length, "worker")}, ${counted(connections, "connection")}`,
  ];
  if (config?.path) told.push(`config ${config.path}, read at ${clockTime(config.loaded_at, now)}`);
  if (config?.reloads) told.push(`reloaded ${counted(config.reloads, "time")}`);
  return told.join(" · ");
}
