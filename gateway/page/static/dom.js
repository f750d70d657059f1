// Small helpers: elements of text and children alone, requests, words for outcomes.

/** An element: h("a", {href: "#/", class: "x"}, "text", child). Text is always text, never markup. */
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** replaceChildren that leaves out null. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

export const $ = (id) => document.getElementById(id);

/** A request of the admin listener. Throws Error with the gateway's own words; `status` 401 asks for the log-in. */
export async function call(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  if (answer.status === 401 && path !== "/login") window.dispatchEvent(new Event("tagway-login"));
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(value.error || `the gateway answered ${answer.status}`), { status: answer.status });
  return value;
}

const KINDS = { delivered: "good", queued: "wait", retrying: "wait", rejected: "bad", dead: "bad", duplicate: "skip", expired: "bad" };
const ICONS = { good: "✓", wait: "↻", skip: "–", consent: "⊘", bad: "✕", none: "·" };

/** good, wait, skip, consent, bad or none: the colour and icon of an outcome. Words always stand beside them. */
export function kindOf(state, reason) {
  if (state === "none") return "none";
  if (state === "withdrawn" || (state === "skipped" && reason === "consent")) return "consent";
  if (state === "skipped" && reason === "incomplete") return "bad";
  return KINDS[state] || "skip";
}

export const iconOf = (kind) => ICONS[kind];

/** The icon and the words, and the vendor's status where there is one. */
export function chipParts(end) {
  const kind = kindOf(end.state, end.reason);
  const status = end.status ? `${end.status}` : end.error || "";
  const tries = end.state === "retrying" && end.tries ? `try ${end.tries}` : "";
  const words = end.words + (end.unconfirmed ? "*" : "");
  const small = [tries, status].filter(Boolean).join(", ");
  return { kind, icon: ICONS[kind], words, small };
}

export function chip(end) {
  const { kind, icon, words, small } = chipParts(end);
  return h("span", { class: `chip ${kind}` }, h("span", { "aria-hidden": "true" }, icon), words, small && h("small", {}, small));
}

const NUMBER = new Intl.NumberFormat("en");
export const number = (value) => NUMBER.format(value);

export function clock(text) {
  const at = new Date(text);
  return at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function moment(text) {
  return new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "medium", hour12: false });
}

/** "3 min ago" */
export function ago(text, now = Date.now()) {
  const seconds = Math.max(0, (now - new Date(text).getTime()) / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
}

/** Sets text only where it differs, so that nothing is painted or read out twice. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A button that puts text on the clipboard. */
export function copyButton(text) {
  const button = h("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and press Ctrl-C";
    }
  });
  return button;
}
