// Dead letters: kept events that were not delivered. Filter, select, queue again, drop.

import { $, call, h, kindOf, iconOf, moment, number, write } from "./dom.js";

const MOST = 200;
const AGAIN_MS = 2000;
let letters = [];
const chosen = new Set();
const filter = { to: "", reason: "", name: "" };
let parts = null;

export async function showDead() {
  if (!parts) build();
  await load();
}

/** How many there are, for the tab. */
export function count(top) {
  const kept = top.destinations.reduce((sum, one) => sum + one.equation.outcomes.filter(isKept).reduce((n, cell) => n + cell.events, 0), 0);
  const conflicts = top.sources.reduce((sum, one) => sum + one.conflict, 0);
  write($("dead-count"), kept + conflicts ? number(kept + conflicts) : "");
}

const isKept = (cell) => cell.outcome === "rejected" || cell.outcome === "dead" || (cell.outcome === "skipped" && cell.reason === "incomplete");

function build() {
  const select = (key, words) => {
    const made = h("select", { "aria-label": words }, h("option", { value: "" }, `all ${words}s`));
    made.addEventListener("change", () => ((filter[key] = made.value), paint()));
    return made;
  };
  const name = h("input", { type: "search", "aria-label": "Event name, id or order contains", placeholder: "Filter: name, id, order", autocomplete: "off" });
  name.addEventListener("input", () => ((filter.name = name.value.trim().toLowerCase()), paint()));
  const all = h("input", { type: "checkbox", "aria-label": "Select all shown" });
  all.addEventListener("change", () => {
    for (const one of shown()) all.checked ? chosen.add(one.id) : chosen.delete(one.id);
    paint();
  });
  parts = {
    to: select("to", "destination"),
    reason: select("reason", "reason"),
    name,
    all,
    replay: h("button", { type: "button", class: "primary", onclick: () => act("/dlq/replay", "replayed", "queued again") }, "Send again"),
    drop: h("button", { type: "button", onclick: () => act("/dlq/drop", "dropped", "dropped") }, "Drop"),
    words: h("p", { class: "quiet", role: "status" }),
    body: h("tbody"),
    table: null,
    empty: h("div", { class: "empty", hidden: true }, h("p", {}, "No dead letters: nothing was refused or given up."), h("p", { class: "quiet" }, "An event that a vendor refuses, or that lacks what the vendor requires, is kept here until you send it again or drop it.")),
  };
  const head = h("tr", {}, h("th", { scope: "col" }, all), ["when", "event", "destination", "why"].map((words) => h("th", { scope: "col" }, words)));
  parts.table = h("div", { class: "scroll" }, h("table", { class: "dead" }, h("caption", { class: "hidden" }, "Dead letters, newest first"), h("thead", {}, head), parts.body));
  const bar = h("div", { class: "filters" }, parts.name, parts.to, parts.reason, parts.replay, parts.drop);
  $("dead").replaceChildren(bar, parts.words, parts.table, parts.empty);
}

async function load() {
  try {
    letters = (await call(`/dlq?limit=${MOST}`)).dead;
  } catch (error) {
    write(parts.words, error.message);
    return;
  }
  for (const id of chosen) if (!letters.some((one) => one.id === id)) chosen.delete(id);
  options(parts.to, letters.map((one) => one.destination || `source ${one.source}`));
  options(parts.reason, letters.map((one) => one.words));
  paint();
}

function options(select, values) {
  const kept = select.value;
  const first = select.options[0];
  select.replaceChildren(first, ...[...new Set(values)].sort().map((value) => h("option", { value }, value)));
  select.value = [...select.options].some((one) => one.value === kept) ? kept : "";
}

function shown() {
  return letters.filter(
    (one) =>
      (!filter.to || (one.destination || `source ${one.source}`) === filter.to) &&
      (!filter.reason || one.words === filter.reason) &&
      (!filter.name || [one.name, one.event_id, one.order].some((text) => text && text.toLowerCase().includes(filter.name))),
  );
}

function paint() {
  const list = shown();
  parts.body.replaceChildren(...list.map(row));
  parts.empty.hidden = letters.length > 0;
  parts.table.hidden = letters.length === 0;
  parts.all.checked = list.length > 0 && list.every((one) => chosen.has(one.id));
  buttons();
}

function buttons() {
  const n = shown().filter((one) => chosen.has(one.id)).length;
  parts.replay.disabled = parts.drop.disabled = n === 0;
  write(parts.replay, n ? `Send ${number(n)} again` : "Send again");
  write(parts.drop, n ? `Drop ${number(n)}` : "Drop");
}

function row(one) {
  const box = h("input", { type: "checkbox", "aria-label": `Select ${one.name} ${one.order ? `order ${one.order}` : one.event_id} for ${one.destination}` });
  box.checked = chosen.has(one.id);
  box.addEventListener("change", () => {
    box.checked ? chosen.add(one.id) : chosen.delete(one.id);
    parts.all.checked = shown().every((each) => chosen.has(each.id));
    buttons();
  });
  const kind = kindOf(one.outcome, one.reason);
  const why = one.tries ? `${one.detail} (${one.tries} ${one.tries === 1 ? "try" : "tries"})` : one.detail;
  return h(
    "tr",
    {},
    h("td", {}, box),
    h("td", { class: "quiet" }, h("time", { datetime: one.at }, moment(one.at))),
    h("td", {}, h("a", { href: `#/event/${encodeURIComponent(one.event_id)}` }, one.name), one.order ? h("div", { class: "quiet" }, `order ${one.order}`) : null),
    h("td", {}, one.destination || `source ${one.source}`),
    h("td", {}, h("span", { class: `chip ${kind}` }, h("span", { "aria-hidden": "true" }, iconOf(kind)), one.words), h("div", { class: "quiet" }, why || one.sentence)),
  );
}

async function act(path, field, words) {
  const ids = shown().filter((one) => chosen.has(one.id)).map((one) => one.id);
  if (path.endsWith("drop") && !confirm(`Delete the kept copies of ${ids.length} events? They can then not be sent again; the count stays.`)) return;
  parts.replay.disabled = parts.drop.disabled = true;
  try {
    const answer = await call(path, { ids, limit: ids.length });
    chosen.clear();
    await load();
    write(parts.words, `${number(answer[field])} ${words}.`);
    setTimeout(load, AGAIN_MS); // what is refused once more comes back
  } catch (error) {
    write(parts.words, error.message);
    buttons();
  }
}
