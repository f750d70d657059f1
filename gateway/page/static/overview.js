// The top of the page: one card per destination with its lane and its equation, the sources, what needs a look.

import { $, ago, fill, h, iconOf, kindOf, number, write } from "./dom.js";

const PATIENCE_MS = 5000; // what waits for less is on its way
const cards = new Map();
let said = "";

/** `choose(destination, state, reason, words)` filters the list of events. */
export function showOverview(top, choose) {
  showNotices(top.notices);
  const sources = top.sources.map(
    (one) => `${one.source}: ${number(one.accepted)} hits accepted = ${number(one.logged)} events + ${number(one.same + one.conflict)} repeats ${one.balanced ? "✓" : "✗"}`,
  );
  write($("sources"), sources.join("   ·   "));
  $("footnote").hidden = top.destinations.every((one) => one.equation.confirmed);
  const box = $("destinations");
  for (const [index, one] of top.destinations.entries()) {
    const card = cards.get(one.destination) || newCard(one.destination);
    fillCard(card, one, choose);
    if (box.children[index] !== card.root) box.insertBefore(card.root, box.children[index] || null);
  }
  for (const [name, card] of cards) {
    if (!top.destinations.some((one) => one.destination === name)) {
      card.root.remove();
      cards.delete(name);
    }
  }
  announce(top);
}

function showNotices(notices) {
  const box = $("notices");
  const text = JSON.stringify(notices);
  if (box.dataset.text === text) return;
  box.dataset.text = text;
  box.replaceChildren(...notices.map((one) => h("li", { class: one.level }, one.words)));
}

/** Reads out only what matters: a lane that stopped or runs again, a new notice. */
function announce(top) {
  const stopped = top.destinations.filter((one) => one.state === "open" || one.state === "paused");
  const words = [...stopped.map((one) => `${one.destination}: ${one.words}.`), ...top.notices.filter((one) => one.level !== "info").map((one) => one.words)];
  const text = words.join(" ") || (said ? "All destinations run." : "");
  if (text === said) return;
  said = text;
  write($("status"), text);
}

function newCard(name) {
  const root = h("article", { class: "destination", "aria-label": name });
  const parts = { title: h("div", { class: "title" }), meter: h("div", { class: "meter", "aria-hidden": "true" }), sum: h("p", { class: "sum" }) };
  const reason = h("p", { class: "reason", hidden: true });
  const note = h("p", { class: "reason note", hidden: true });
  root.append(parts.title, parts.meter, parts.sum, reason, note, backfill(name));
  const card = { root, ...parts, reason, note, text: "" };
  cards.set(name, card);
  return card;
}

function fillCard(card, one, choose) {
  const last = one.last_delivery ? `last delivery ${ago(one.last_delivery)}` : one.equation.delivered ? "no delivery since the gateway was started" : "nothing delivered yet";
  const waiting = one.oldest && Date.now() - new Date(one.oldest) > PATIENCE_MS ? `oldest waits since ${ago(one.oldest).replace(" ago", "")}` : "";
  const text = JSON.stringify([one.equation, one.state, one.reason, one.mode, one.note, last, waiting]);
  if (card.text === text) return;
  card.text = text;
  card.root.classList.toggle("stopped", one.state === "open" || one.state === "paused");
  fill(
    card.title,
    h("h3", {}, one.destination + (one.equation.confirmed ? "" : " *")),
    h("span", { class: `state ${one.state}` }, `${{ running: "●", open: "▲", paused: "❚❚" }[one.state] || "○"} ${one.words}`),
    one.mode_words && one.state !== "off" ? h("span", { class: "chip skip" }, one.mode_words) : null,
    h("span", { class: "quiet" }, [last, waiting].filter(Boolean).join(" · ")),
  );
  const terms = termsOf(one.equation);
  card.meter.replaceChildren(...terms.filter((term) => term.events).map((term) => bar(term, one.equation.accepted)));
  fillSum(card.sum, one, terms, choose);
  card.reason.hidden = !(one.reason && one.state !== "running" && one.state !== "parked");
  write(card.reason, one.reason ? `Why it stands still: ${one.reason}. Its events are kept and sent later.` : "");
  card.note.hidden = !one.note;
  write(card.note, one.note);
}

function termsOf(equation) {
  const delivered = { outcome: "delivered", reason: "", words: "delivered", events: equation.delivered };
  const rest = equation.outcomes.filter((cell) => cell.outcome !== "delivered");
  return [delivered, ...rest, { outcome: "queued", reason: "", words: "waiting", events: equation.queued }];
}

function bar(term, accepted) {
  const made = h("span", { class: kindOf(term.outcome, term.reason) });
  made.style.width = `${(100 * term.events) / Math.max(1, accepted)}%`;
  return made;
}

/** Keeps the buttons while only their numbers change, so that the focus stays where it is. */
function fillSum(sum, one, terms, choose) {
  const { equation, destination } = one;
  const keys = terms.map((term) => `${term.outcome}/${term.reason}`).join(" ");
  if (sum.dataset.keys !== keys) {
    sum.dataset.keys = keys;
    fill(
      sum,
      h("b", {}), " accepted ", h("span", { class: "op" }, "="),
      ...terms.flatMap((term, index) => [index ? h("span", { class: "op" }, "+") : null, termButton(term, destination, choose)]),
      h("span", { class: "mark" }),
    );
  }
  write(sum.querySelector("b"), number(equation.accepted));
  for (const [index, button] of sum.querySelectorAll("button").entries()) {
    const term = terms[index];
    write(button.querySelector("b"), number(term.events) + (term.outcome === "delivered" && !equation.confirmed ? "*" : ""));
  }
  const mark = sum.querySelector(".mark");
  mark.className = `mark ${equation.balanced ? "ok" : "off"}`;
  write(mark, equation.balanced ? "✓ adds up" : "✗ does not add up: run tagway audit");
}

function termButton(term, destination, choose) {
  const kind = kindOf(term.outcome, term.reason);
  const title = `Show these events of ${destination}`;
  return h(
    "button",
    { type: "button", class: `chip ${kind}`, title, onclick: () => choose(destination, term.outcome, term.reason, term.words) },
    h("span", { "aria-hidden": "true" }, iconOf(kind)), h("b", {}), term.words,
  );
}

/** Back-filling a lane, with progress. */
function backfill(name) {
  const since = h("select", { "aria-label": `Back-fill ${name} from` }, ...[["1h", "the last hour"], ["24h", "the last day"], ["3d", "the last 3 days"], ["7d", "the last 7 days"]].map(([value, words]) => h("option", { value }, words)));
  const progress = h("progress", { hidden: true, "aria-label": `Back-fill of ${name}` });
  const words = h("span", { class: "quiet", role: "status" });
  const button = h("button", { type: "button" }, "Send again what is not there");
  button.addEventListener("click", async () => {
    button.disabled = true;
    progress.hidden = false;
    try {
      let queued = 0;
      await follow(name, since.value, (step) => {
        progress.max = Math.max(1, step.total);
        progress.value = step.done;
        queued = step.queued;
        write(words, `${number(step.done)} of about ${number(step.total)} events looked at`);
      });
      write(words, `Done: ${number(queued)} ${queued === 1 ? "event is" : "events are"} queued again.`);
    } catch (error) {
      write(words, error.message);
    } finally {
      button.disabled = false;
      progress.hidden = true;
    }
  });
  const hint = h("p", { class: "quiet" }, "Queues what was received since then and is neither delivered there nor waiting. Consent and age are checked again.");
  return h("details", { class: "actions" }, h("summary", {}, `Back-fill ${name}`), hint, h("div", { class: "backfill" }, since, button, progress, words));
}

async function follow(name, since, step) {
  const answer = await fetch("/replay", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ to: name, since }) });
  if (!answer.ok) throw new Error((await answer.json()).error);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.filter(Boolean)) step(JSON.parse(line));
  }
}
