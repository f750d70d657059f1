// One event in full: what came, what the stages made of it, what became of it at each destination, and what would change it.

import { $, call, chip, h, moment } from "./dom.js";

/** `what` is "event" or "order", `key` its id or number; "find" tries both. */
export async function showStory(what, key) {
  const box = $("story");
  box.className = "story";
  box.replaceChildren(back(), h("p", { class: "quiet", role: "status" }, "Looking it up…"));
  let stories = [];
  try {
    if (what !== "event") stories = (await call(`/orders/${encodeURIComponent(key)}`)).stories;
    if (!stories.length && what !== "order") stories = (await call(`/story/${encodeURIComponent(key)}`)).stories;
  } catch (error) {
    box.replaceChildren(back(), h("h1", { tabindex: "-1" }, "It could not be looked up"), h("p", {}, error.message));
    return;
  }
  box.replaceChildren(back(), ...(stories.length ? stories.flatMap(told).filter(Boolean) : nothing(key)));
  document.title = stories.length ? `${stories[0].name} ${stories[0].order || ""} – Tagway` : "Tagway";
  box.querySelector("h1").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

const back = () => h("p", {}, h("a", { href: "#/" }, "← all events"));

function nothing(key) {
  return [
    h("h1", { tabindex: "-1" }, `Nothing is known of ${key}`),
    h("p", {}, "It never came in, or it has left with retention. An event that no destination may have is found by its order number for three days (queue.personal), and then by its id."),
  ];
}

function told(story) {
  const about = [story.order && `order ${story.order}`, story.value, story.page].filter(Boolean).join(" · ");
  const ends = story.destinations.filter((one) => one.state !== "none");
  const got = ends.filter((one) => one.state === "delivered").length;
  return [
    h(
      "header",
      {},
      h("h1", { tabindex: "-1" }, story.name, about && ` · ${about}`),
      h("p", { class: "quiet" }, `${moment(story.received)} · source ${story.source} · event `, h("code", {}, story.id)),
      h("div", { class: "verdict" }, h("b", {}, story.repeat || `Delivered to ${got} of ${ends.length}`), h("span", { class: "chips" }, ends.map(labelled))),
    ),
    h("ol", { class: "steps", "aria-label": "What the stages made of it" }, story.steps.map(step)),
    story.repeat ? null : h("h2", {}, "What became of it"),
    story.repeat ? null : h("div", { class: "ends" }, story.destinations.map(destination)),
    fold("The event as it is stored, personal data masked", json(story.event)),
  ];
}

function labelled(one) {
  const made = chip(one);
  made.prepend(h("b", {}, one.destination));
  return made;
}

function step(one) {
  return h("li", {}, h("h3", {}, one.title), h("p", {}, one.words), one.rows.length ? rows(one.rows) : null, one.change.map((each) => change(each, true)));
}

function rows(list) {
  return h("table", { class: "plain" }, h("tbody", {}, list.map((one) =>
    h("tr", {}, h("th", { scope: "row" }, one.field), h("td", { class: ["granted", "denied", "unknown"].includes(one.value) && one.value }, shown(one.value)), h("td", { class: "quiet" }, one.signal ? `said by ${one.signal}` : one.from ? `from ${one.from}` : "")))));
}

function destination(one) {
  return h(
    "section",
    { class: "to-one", "aria-label": one.destination },
    h("div", { class: "title" }, h("h3", {}, one.destination), chip(one), one.mode && one.mode !== "live" ? h("span", { class: "chip skip" }, one.mode) : null),
    h("p", {}, [one.sentence, one.detail].filter(Boolean).join(" ")),
    (one.change || []).map((each) => change(each, one.state === "delivered")),
    one.answers.length ? fold(`The vendor's ${one.answers.length === 1 ? "answer" : "last answer"}`, answer(one.answers[0]), true) : null,
    one.answers.length > 1 ? fold(`${one.answers.length - 1} earlier ${one.answers.length === 2 ? "answer" : "answers"}`, ...one.answers.slice(1).map(answer)) : null,
    (one.requests || []).length ? fold("The request, as the files make it now (masked)", ...one.requests.map(request)) : null,
    (one.fields || []).length ? fold("Each field, and the line it comes from", fields(one.fields)) : null,
  );
}

function change(one, plain) {
  const words = plain ? one.words[0].toUpperCase() + one.words.slice(1) : `To change it: ${one.words}`;
  return h("p", { class: "change" }, words, one.place && [" – ", h("code", {}, one.place)]);
}

/** A part that opens; while it is closed its inside takes no part in the layout. */
function fold(words, ...children) {
  const open = children.at(-1) === true;
  const inside = h("div", { hidden: !open }, children.filter((child) => typeof child !== "boolean"));
  const made = h("details", { open, ontoggle: () => (inside.hidden = !made.open) }, h("summary", {}, words), inside);
  return made;
}

function answer(one) {
  const status = one.status ? `HTTP ${one.status}` : one.error ? `no answer: ${one.error}` : "not sent";
  const shared = one.events > 1 ? ` · with ${one.events - 1} other event${one.events > 2 ? "s" : ""}` : "";
  return h("div", {}, h("p", {}, h("b", {}, status), ` after ${Math.round(one.ms)} ms · ${moment(one.at)}${shared}`), h("p", { class: "quiet" }, one.request), one.answer ? json(one.answer) : h("p", { class: "quiet" }, "The answer was empty."));
}

function request(one) {
  const head = [`${one.method} ${one.url}`, ...Object.entries(one.headers).map(([name, value]) => `${name}: ${value}`)].join("\n");
  return h("div", {}, h("pre", { tabindex: "0" }, head), json(one.body));
}

function fields(list) {
  const sent = list.filter((one) => one.sent);
  const missing = list.filter((one) => !one.sent);
  const table = (some, columns, last) =>
    h("div", { class: "scroll" }, h("table", { class: "plain" }, h("thead", {}, h("tr", {}, columns.map((words) => h("th", { scope: "col" }, words)))),
      h("tbody", {}, some.map((one) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, one.field)), h("td", {}, last(one)), h("td", {}, h("code", {}, one.place)))))));
  return h("div", {}, table(sent, ["field", "sent", "line"], (one) => shown(one.value)), missing.length ? fold(`${missing.length} fields that are not sent`, table(missing, ["field", "why", "line"], (one) => one.why)) : null);
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

const json = (value) => h("pre", { tabindex: "0" }, typeof value === "string" ? value : JSON.stringify(value, null, 2));
