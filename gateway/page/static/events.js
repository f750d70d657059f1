// The last 500 events: rows are kept by key, so that focus and scroll stay; a screen is painted at most twice a second.

import { $, chip, clock, copyButton, h, number, write } from "./dom.js";

const MOST = 500;
const PAINT_MS = 500;
const MOST_COLUMNS = 5;

let events = []; // newest first
const rows = new Map(); // key → {row, ends: {lane: cell}, text}
let lanes = [];
let paused = false;
let missed = 0;
let due = null;
let hint = "";
const passes = []; // [time, events that went by]
const filter = { text: "", destination: "", outcome: "" };
let elsewhere = null; // rows of /recent, while a filter finds too few among the last 500

export function start() {
  $("pause").addEventListener("click", () => setPaused(!paused));
  $("filter-text").addEventListener("input", () => setFilter({ text: $("filter-text").value.trim().toLowerCase() }));
  $("filter-destination").addEventListener("change", () => setFilter({ destination: $("filter-destination").value }));
  $("filter-outcome").addEventListener("change", () => setFilter({ outcome: $("filter-outcome").value }));
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => setFilter({ text: "", destination: "", outcome: "" }));
  document.addEventListener("visibilitychange", () => document.hidden || paint());
  setInterval(showRate, 1000);
}

/** Shows the events of one destination that ended so. */
export function choose(destination, state, reason, words) {
  const outcome = state === "queued" ? "queued" : reason ? `${state}/${reason}` : state;
  option($("filter-outcome"), outcome, words);
  $("filter-text").value = "";
  $("filter-destination").value = destination;
  $("filter-outcome").value = outcome;
  setFilter({ text: "", destination, outcome });
  $("list-title").scrollIntoView({ block: "start" });
}

export function setTry(curl) {
  hint = curl;
}

export function setLanes(names) {
  if (names.join() === lanes.join()) return;
  lanes = names;
  const select = $("filter-destination");
  for (const name of names) option(select, name, name);
  rows.clear();
  const columns = names.length <= MOST_COLUMNS ? names : ["what became of it"];
  const head = ["time", "event", ...columns].map((name) => h("th", { scope: "col", role: "columnheader" }, name));
  $("events-head").replaceChildren(h("tr", { role: "row" }, head));
  const widths = names.length <= MOST_COLUMNS ? `repeat(${names.length}, minmax(112px, 1fr))` : "3fr";
  document.querySelector("table.events").style.setProperty("--columns", `88px minmax(150px, 2fr) ${widths}`);
  schedule();
}

export function replaceAll(list) {
  events = list.slice(0, MOST);
  rows.clear();
  missed = 0;
  schedule(0);
}

export function add(message) {
  passes.push([performance.now(), message.passed]);
  for (const one of events) {
    const ends = message.changed[one.key];
    if (ends) one.ends = ends;
  }
  events = [...message.new, ...events].slice(0, MOST);
  if (paused) missed += message.passed;
  schedule();
}

function setPaused(value) {
  paused = value;
  missed = 0;
  $("pause").setAttribute("aria-pressed", String(value));
  $("pause").textContent = value ? "Go on" : "Pause";
  schedule(0);
}

function setFilter(change) {
  Object.assign(filter, change);
  elsewhere = null;
  $("filter-clear").hidden = !(filter.text || filter.destination || filter.outcome);
  paint();
  lookFurther();
}

/** Among the last 500 there may be none: asks the gateway to look further back. */
async function lookFurther() {
  if (!filter.outcome && !filter.destination) return;
  const asked = JSON.stringify(filter);
  const [outcome, reason] = filter.outcome.split("/");
  const query = new URLSearchParams({ limit: "200", destination: filter.destination, outcome: outcome || "", reason: reason || "" });
  const found = await fetch(`/recent?${query}`).then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
  if (!found || asked !== JSON.stringify(filter)) return;
  elsewhere = found;
  paint();
}

function option(select, value, words) {
  if (![...select.options].some((one) => one.value === value)) select.append(h("option", { value }, words));
}

function matches(one) {
  if (filter.text && ![one.name, one.id, one.order, one.page, one.value].some((text) => text && text.toLowerCase().includes(filter.text))) return false;
  if (!filter.destination && !filter.outcome) return true;
  return Object.entries(one.ends).some(([lane, end]) => (!filter.destination || lane === filter.destination) && (!filter.outcome || isOutcome(end)));
}

function isOutcome(end) {
  const [state, reason] = filter.outcome.split("/");
  if (state === "queued") return end.state === "queued" || end.state === "retrying";
  return end.state === state && (!reason || end.reason === reason);
}

function schedule(wait = PAINT_MS) {
  if (due !== null || (paused && wait)) return;
  due = setTimeout(() => {
    due = null;
    if (!document.hidden) requestAnimationFrame(paint);
  }, wait);
}

function shown() {
  const found = events.filter(matches);
  if (!elsewhere) return found;
  const have = new Set(found.map((one) => one.key));
  return [...found, ...elsewhere.events.filter((one) => !have.has(one.key) && matches(one))].slice(0, MOST);
}

function paint() {
  if ($("home").hidden) return;
  const list = shown();
  const body = $("events-body");
  const wanted = new Set(list.map((one) => one.key));
  for (const [key, kept] of rows) {
    if (!wanted.has(key)) {
      kept.row.remove();
      rows.delete(key);
    }
  }
  let at = body.firstElementChild;
  for (const one of list) {
    const kept = rows.get(one.key) || newRow(one);
    update(kept, one);
    if (kept.row === at) at = at.nextElementSibling;
    else body.insertBefore(kept.row, at);
  }
  while (at) {
    const next = at.nextElementSibling;
    at.remove();
    at = next;
  }
  for (const one of list) for (const end of Object.values(one.ends)) outcomeOption(end);
  showEmpty(list.length);
  note(list.length);
}

function outcomeOption(end) {
  const value = end.state === "retrying" ? "queued" : end.reason && end.state !== "queued" ? `${end.state}/${end.reason}` : end.state;
  if (outcomeOption.known.has(value)) return;
  outcomeOption.known.add(value);
  option($("filter-outcome"), value, value === "queued" ? "waiting" : end.words);
}
outcomeOption.known = new Set();

function newRow(one) {
  const about = [one.order && `order ${one.order}`, one.value, one.page].filter(Boolean).join(" · ");
  const row = h(
    "tr",
    { role: "row" },
    h("td", { role: "cell", class: "time" }, h("time", { datetime: one.received }, clock(one.received))),
    h("td", { role: "cell", class: "what" }, h("a", { href: `#/event/${encodeURIComponent(one.id)}` }, one.name), about && h("span", {}, about)),
  );
  const kept = { row, ends: {}, text: {} };
  if (lanes.length <= MOST_COLUMNS) {
    for (const lane of lanes) row.append((kept.ends[lane] = h("td", { role: "cell", class: "end" })));
  } else {
    row.append((kept.all = h("td", { role: "cell", class: "end" }, h("div", { class: "chips" }))));
  }
  rows.set(one.key, kept);
  return kept;
}

function update(kept, one) {
  if (kept.seen === one.ends) return;
  kept.seen = one.ends;
  if (kept.all) {
    kept.all.firstChild.replaceChildren(...Object.entries(one.ends).map(([lane, end]) => labelled(lane, end)));
    return;
  }
  for (const [lane, cell] of Object.entries(kept.ends)) {
    const end = one.ends[lane];
    const text = end ? `${end.state}${end.reason}${end.tries}${end.status}${end.words}` : "";
    if (kept.text[lane] === text) continue;
    kept.text[lane] = text;
    cell.title = end ? `${lane}: ${end.sentence} ${end.detail}`.trim() : "";
    cell.replaceChildren(...(end ? [h("span", { class: "to" }, `${lane} `), chip(end)] : []));
  }
}

function labelled(lane, end) {
  const made = chip(end);
  made.prepend(h("span", { class: "to" }, lane));
  made.title = `${end.sentence} ${end.detail}`.trim();
  return made;
}

function showEmpty(count) {
  const empty = $("events-empty");
  empty.hidden = count > 0 || !hint;
  document.querySelector("table.events").hidden = count === 0;
  if (count || !hint) return;
  const why = events.length ? "filter" : "none";
  if (empty.dataset.why === why + hint) return;
  empty.dataset.why = why + hint;
  if (events.length) {
    empty.replaceChildren(h("p", {}, "No event among the newest matches the filter."), h("p", { class: "quiet" }, "Clear the filter, or open an event by its order number or id at the top."));
    return;
  }
  empty.replaceChildren(
    h("h3", {}, "No event has come in yet"),
    h("p", {}, "Send one: paste this into a terminal, and it appears here within a second."),
    h("pre", { tabindex: "0" }, hint),
    copyButton(hint),
  );
}

function note(count) {
  const parts = [];
  if (paused) parts.push(`Paused; ${number(missed)} events went by since.`);
  if (filter.text || filter.destination || filter.outcome) {
    parts.push(`${number(count)} of the last ${number(events.length)} events match${elsewhere ? `, older ones included (${number(elsewhere.scanned)} looked through)` : ""}.`);
  }
  write($("list-note"), parts.join(" "));
}

function showRate() {
  const now = performance.now();
  while (passes.length && passes[0][0] < now - 60000) passes.shift();
  const since = Date.now() - 60000;
  const listed = events.findIndex((one) => new Date(one.received).getTime() < since);
  const count = Math.max(passes.reduce((sum, [, n]) => sum + n, 0), listed < 0 ? events.length : listed);
  write($("rate"), count === 1 ? "1 event in the last minute" : `${number(count)} events in the last minute`);
  if (paused) note(shown().length);
}

export const paintNow = () => schedule(0);
