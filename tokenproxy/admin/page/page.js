// The status page: it shows what the server says, as it says it.

import { animate, correct, now } from "./clock.js";
import { CredentialCard } from "./credential.js";
import { one, put, set, Views } from "./dom.js";
import { Events } from "./events.js";
import { facts, showHeadline, showLost } from "./headline.js";
import { RoutePanel } from "./route.js";
import { Stream } from "./stream.js";

const place = (name) => one(document, name);
const cards = new Views(place("credentials"), (name) => new CredentialCard(name));
const panels = new Views(place("routes"), (name) => new RoutePanel(name));
const events = new Events(place("events-part"));
let last = null;

function show(status) {
  last = status;
  correct(status.now);
  showHeadline(status, now());
  cards.show(status.credentials);
  panels.show(status.routes);
  events.show(status.events, now());
  put(place("facts"), facts(status, now()));
  place("no-credentials").hidden = Object.keys(status.credentials).length > 0;
  for (const part of ["credentials", "routes", "events"]) place(`${part}-part`).hidden = false;
}

function showConnection(isLive) {
  const connection = place("connection");
  set(connection, "data-connection", isLive ? "live" : "lost");
  put(connection, isLive ? "Live" : "Reconnecting");
  if (!isLive) showLost(last);
}

animate({
  tick(time) {
    cards.tick(time);
    events.tick(time);
  },
  pause: () => Math.min(1, ...[...cards.byName.values()].map((card) => card.life.pause(now()))),
});

new Stream("api/events", show, showConnection);
