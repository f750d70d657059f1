// The right side: one value from the server per change, drawn whole. What was pressed is a POST of JSON to our own origin.

const MARKS = { got: "✓", no: "–", waiting: "…", kept: "…", refused: "✗" };
const SHORT = { got: "Got it", no: "Nothing", waiting: "Waiting", kept: "Not sent yet", refused: "Refused" };
const WAYS = [["500", "error 500"], ["hang", "no answer"], ["401", "bad token"], ["429", "too busy"], ["reset", "cut off"]];
const CONSENTS = { all: "yes to all", statistics: "only statistics", necessary: "only necessary", unasked: "nothing yet" };

const byId = (id) => document.getElementById(id);

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Change a text only where it differs: a screen reader reads what changes. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function post(path, body = {}) {
  return fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const clock = (text) => new Date(text).toLocaleTimeString("en-GB");

function showGateway(gateway, waiting) {
  const box = byId("gateway");
  const back = gateway.restarts ? ` · came back ${gateway.restarts === 1 ? "once" : `${gateway.restarts} times`}` : "";
  const down = !gateway.pid;
  box.dataset.state = down ? "down" : gateway.up ? "up" : "starting";
  say(byId("gateway-words"), down ? "Gateway is down" : gateway.up ? "Gateway is running" : "Gateway is starting");
  const kept = waiting ? `the shop keeps ${plural(waiting, "event")}` : "buy something now: the shop keeps it";
  say(byId("gateway-detail"), down ? `back in ${gateway.back_in ?? 0} s · ${kept}` : `process ${gateway.pid}${back}`);
  byId("kill").hidden = down;
  byId("start").hidden = !down;
}

const list = (names) => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** What one group of vendors with the same verdict was told, as a sentence. */
function sentence(state, words, names, all) {
  const who = all ? "all four vendors" : list(names);
  if (state === "got") return `${who} got the purchase`;
  if (state === "no") return `${who} got nothing, because ${words}`;
  if (state === "refused") return `${who} did not take it: ${words}`;
  if (state === "kept") return words.includes("keeps") ? `${words} and sends it again` : words;
  if (words === "on its way") return `on its way to ${who}`;
  return words.includes("is up again") ? words : `${words}: the order is kept and tried again`;
}

function showLatest(orders, vendors) {
  const [order] = orders;
  if (!order) return;
  const groups = new Map();
  for (const { name, title } of vendors) {
    const { state, words } = order.vendors[name];
    const key = JSON.stringify([state, words]);
    groups.set(key, [...(groups.get(key) ?? []), title.replace(/^Your/, "your")]);
  }
  const parts = [...groups].map(([key, names]) => capital(sentence(...JSON.parse(key), names, names.length === vendors.length)));
  say(byId("latest"), `Order ${order.order}: ${parts.join(". ")}.`);
}

function verdictCell(name, title, { state, words, detail }) {
  const head = el("p", {}, el("span", { class: "mark", "aria-hidden": "true" }, MARKS[state]), el("b", {}, SHORT[state]), state === "got" ? ` ${words}` : "");
  const cell = el("td", { "data-state": state, "data-vendor": name, "data-label": title }, head);
  if (state !== "got") cell.append(el("small", {}, words));
  if (detail) cell.append(el("small", { class: state === "no" ? "signal" : "" }, state === "no" ? `decided by: ${detail}` : detail));
  return cell;
}

/** An order: a line about it, and under it a cell for each vendor, in the columns of the inboxes. */
function orderRows(order, vendors, admin) {
  const story = `${admin}#/order/${order.order}`;
  const link = el("a", { href: story, target: "_blank", rel: "noopener", "aria-label": `The whole story of order ${order.order}` }, "whole story");
  const about = `${order.total.toFixed(2)} € · the visitor said ${CONSENTS[order.consent]} · `;
  const cells = vendors.map(({ name, title }) => verdictCell(name, title, order.vendors[name]));
  return el("tbody", { "data-order": order.order },
    el("tr", {}, el("th", { colspan: "4", scope: "rowgroup" }, `Order ${order.order} `, el("span", {}, about, link))),
    el("tr", {}, ...cells));
}

function showOrders(orders, vendors, admin) {
  const table = byId("orders");
  table.parentElement.hidden = !orders.length;
  redraw(table, orders, (order) => orderRows(order, vendors, admin), (order) => order.order, 1);
}

/** Redraw the children after the `first` whose value has changed; the others, and the focus in them, stay. */
function redraw(parent, values, make, key, first = 0) {
  const children = [...parent.children];
  const before = new Map(children.slice(first).map((child) => [child.dataset.key, child]));
  const nodes = values.map((value) => {
    const print = JSON.stringify(value);
    const old = before.get(String(key(value)));
    if (old?.dataset.print === print) return old;
    const node = make(value);
    node.dataset.key = key(value);
    node.dataset.print = print;
    return node;
  });
  const wanted = [...children.slice(0, first), ...nodes];
  if (wanted.length !== children.length || wanted.some((node, i) => children[i] !== node)) parent.replaceChildren(...wanted);
}

function makeCard(vendor) {
  const ways = el("select", { "aria-label": `How ${vendor.title} is down` }, ...WAYS.map(([mode, words]) => el("option", { value: mode }, words)));
  const toggle = el("button", { type: "button", role: "switch", "aria-checked": "false", "aria-label": `${vendor.title} is down` }, el("span", {}));
  const set = (mode) => post(`/api/vendors/${vendor.name}`, { mode });
  toggle.addEventListener("click", () => set(toggle.getAttribute("aria-checked") === "true" ? null : ways.value));
  ways.addEventListener("change", () => { if (toggle.getAttribute("aria-checked") === "true") set(ways.value); });
  return el("article", { class: "vendor", "data-vendor": vendor.name, "aria-label": vendor.title },
    el("h3", {}, vendor.title), el("div", { class: "switch" }, el("span", { class: "now", "aria-hidden": "true" }, "works"), toggle, ways), el("p", { class: "total" }), el("p", { class: "events" }), el("p", { class: "state" }), el("ol", { class: "inbox", "aria-label": `Inbox of ${vendor.title}` }), el("p", { class: "equation" }));
}

function inboxLine(entry) {
  const props = entry.payload?.params ?? entry.payload?.custom_data ?? entry.payload?.properties ?? entry.payload?.props ?? {};
  const value = Number(props.value);
  const what = [entry.name || "request", Number.isFinite(value) && value > 0 ? `${value.toFixed(2)} ${props.currency === "EUR" ? "€" : (props.currency ?? "")}` : ""];
  const note = !entry.accepted ? `not taken: ${entry.reason}` : entry.duplicate ? "again, counted once" : "";
  const line = el("li", { class: entry.accepted ? "" : "bad", title: clock(entry.at) }, el("b", {}, what[0]), el("span", {}, what[1]));
  if (note) line.append(el("small", {}, note));
  return line;
}

function showCard(card, vendor) {
  const down = vendor.mode !== null;
  card.classList.toggle("down", down);
  const toggle = card.querySelector("[role=switch]");
  toggle.setAttribute("aria-checked", String(down));
  say(card.querySelector(".now"), down ? "down" : "works");
  const ways = card.querySelector("select");
  ways.hidden = !down;
  if (down) ways.value = vendor.mode;
  say(card.querySelector(".total"), plural(vendor.purchases, "purchase"));
  say(card.querySelector(".events"), `${plural(vendor.events, "event")} in all`);
  const waiting = vendor.queued ? `${plural(vendor.queued, "event")} safe on disk` : "";
  const why = { open: "one is tried every 30 s", paused: "until the token works" }[vendor.state] ?? "";
  say(card.querySelector(".state"), [waiting, waiting && why].filter(Boolean).join(", "));
  redraw(card.querySelector(".inbox"), vendor.inbox.map((entry, i) => ({ ...entry, i })), inboxLine, (entry) => `${entry.at}${entry.id}${entry.name}${entry.i}`);
  say(card.querySelector(".equation"), equation(vendor.row));
}

/** `7 accepted = 5 delivered + 2 no consent ✓` */
function equation(row) {
  if (!row) return "";
  const parts = row.outcomes.map((one) => `${one.events} ${one.words}`);
  if (row.queued || !parts.length) parts.push(`${row.queued} waiting`);
  return `${row.accepted} accepted = ${parts.join(" + ")} ${row.balanced ? "✓" : "✗"}`;
}

function showVendors(vendors) {
  const parent = byId("inboxes");
  for (const vendor of vendors) {
    let card = parent.querySelector(`[data-vendor="${vendor.name}"]`);
    if (!card) {
      card = makeCard(vendor);
      parent.append(card);
    }
    showCard(card, vendor);
  }
}

/** Follow the server and draw. */
export function startBoard(tracker) {
  let board;
  let wasUp = true;
  const draw = () => {
    const admin = `http://${location.hostname}:${board.ports.admin}/`;
    byId("admin").href = admin;
    showGateway(board.gateway, tracker.waiting);
    showLatest(board.orders, board.vendors);
    showOrders(board.orders, board.vendors, admin);
    showVendors(board.vendors);
  };
  const stream = new EventSource("/api/stream");
  stream.addEventListener("message", (event) => {
    board = JSON.parse(event.data);
    draw();
    if (board.gateway.up && !wasUp) tracker.flush();
    wasUp = board.gateway.up;
  });
  stream.addEventListener("error", () => {
    byId("gateway").dataset.state = "down";
    say(byId("gateway-words"), "The demo has stopped");
    say(byId("gateway-detail"), "start it again with: tagway demo");
  });
  tracker.addEventListener("change", () => { if (board) draw(); });
  byId("kill").addEventListener("click", () => post("/api/gateway/kill"));
  byId("start").addEventListener("click", () => post("/api/gateway/start"));
}
