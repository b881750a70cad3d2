// A route's panel: four charts, and the same minute by minute as a table.

import { Chart } from "./chart.js";
import { copyOf, one, put, set } from "./dom.js";
import { count, counted, length, milliseconds } from "./words.js";

const sum = (values) => values.reduce((total, value) => total + value, 0);
const highest = (values) => Math.max(0, ...values);
const FEW = 4; // a single request is no full bar

let panels = 0;

export class RoutePanel {
  constructor(name) {
    this.root = copyOf("route");
    const heading = this.put("name", name);
    heading.id = `route-${(panels += 1)}`; // a route may be called anything
    set(this.root, "aria-labelledby", heading.id);
    this.counts = {
      requests: new Chart("Requests", "requests"),
      errors: new Chart("Errors", "errors"),
      replays: new Chart("Replays", "replays"),
    };
    this.latency = new Chart("Latency", "latency");
    const charts = [...Object.values(this.counts), this.latency];
    one(this.root, "charts").append(...charts.map((chart) => chart.root));
  }

  put(place, text) {
    const element = one(this.root, place);
    put(element, text);
    return element;
  }

  show(route) {
    this.put("from", `${route.host ?? ""}${route.path}`);
    this.put("to", route.upstream);
    this.put("totals", totals(route));
    for (const [name, chart] of Object.entries(this.counts)) chart.show(counting(route.history, name));
    this.latency.show(latencies(route.history));
    one(this.root, "minutes").replaceChildren(...minutes(route.history).map(row));
  }

  tick() {} // nothing here moves between two words of the server
}

function totals({ requests, errors, in_flight: inFlight, replays, credential }) {
  const since = [counted(requests, "request"), counted(errors, "error"), counted(replays, "replay")];
  const whose = credential === null ? "No credential" : `With ${credential}’s token`;
  return `${whose}. ${count(inFlight)} in flight. Since the start: ${since.join(", ")}.`;
}

function counting(history, name) {
  const near = history[name];
  const [total, peak] = [sum(near), highest(near)];
  return {
    near,
    step: history.step,
    least: FEW,
    value: count(total),
    note: total ? `at most ${count(peak)} in ${length(history.step)}` : "",
    words: total ? `${count(total)}, at most ${count(peak)} in ${length(history.step)}` : "none",
  };
}

function latencies({ step, p50_ms: near, p99_ms: far }) {
  const last = near.findLastIndex((value) => value !== null);
  const shown = last < 0 ? null : [milliseconds(near[last]), milliseconds(far[last])];
  return {
    near,
    far,
    step,
    least: 1,
    value: shown ? shown[0] : "–",
    note: shown ? `p50; p99 ${shown[1]}` : "",
    words: shown
      ? `last p50 ${shown[0]} and p99 ${shown[1]}, highest p99 ${milliseconds(highest(far))}`
      : "no requests",
  };
}

/** The history in rows of a minute, the newest first. */
function minutes({ step, until, requests, errors, replays, p50_ms: p50, p99_ms: p99 }) {
  const size = Math.max(1, Math.round(60 / step));
  const starts = [...requests.keys()].filter((at) => at % size === 0).reverse();
  return starts.map((start) => {
    const part = (values) => values.slice(start, start + size);
    const counts = [requests, errors, replays].map((values) => count(sum(part(values))));
    const slowest = [p50, p99].map((values) => highest(part(values)));
    const from = new Date((until - step * (requests.length - start)) * 1000);
    return [
      from.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }),
      ...counts,
      ...slowest.map((ms) => (ms ? milliseconds(ms) : "–")),
    ];
  });
}

function row(cells) {
  const line = document.createElement("tr");
  line.append(...cells.map((text, column) => cell(column ? "td" : "th", text)));
  return line;
}

function cell(kind, text) {
  const element = document.createElement(kind);
  if (kind === "th") element.scope = "row";
  element.textContent = text;
  return element;
}
