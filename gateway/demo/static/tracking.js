// What a shop's page does to measure: one stable id per event, the visitor's consent beside it, and an outbox that keeps what
// the gateway has not confirmed. An event that is sent again carries the same id, so that nobody counts it twice.

const meta = (name) => document.querySelector(`meta[name="tagway-${name}"]`).content;

/** The first-party host of the gateway: this machine under the name the shop was opened with. */
export const GATEWAY = `http://${location.hostname}:${meta("gateway-port")}`;
const URL_EVENTS = `${GATEWAY}/v1/events?k=${meta("key")}`;
const OUTBOX = "tagway-demo-outbox";
const CONSENT = "tagway-demo-consent";
const AGAIN_MS = 1000;
const MAX_BATCH = 50;

const PURPOSES = {
  all: { ad_storage: "granted", ad_user_data: "granted", ad_personalization: "granted", analytics_storage: "granted" },
  statistics: { ad_storage: "denied", ad_user_data: "denied", ad_personalization: "denied", analytics_storage: "granted" },
  necessary: { ad_storage: "denied", ad_user_data: "denied", ad_personalization: "denied", analytics_storage: "denied" },
  unasked: null,
};

/** A UUIDv7: the time in front, so that ids sort as they were made. */
export function uuid7(now = Date.now()) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  for (let i = 0; i < 6; i++) bytes[i] = Math.floor(now / 2 ** (8 * (5 - i))) % 256;
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Cookies that the vendors' own tags would set, and only with the visitor's leave: made here as those tags make them. */
function vendorCookies(choice) {
  const seconds = Math.floor(Date.now() / 1000);
  const random = () => crypto.getRandomValues(new Uint32Array(1))[0];
  const analytics = choice === "all" || choice === "statistics";
  cookie("_ga", analytics, () => `GA1.1.${random()}.${seconds}`);
  cookie("_ga_LAB0000001", analytics, () => `GS1.1.${seconds}.1.1.${seconds}.0.0.0`);
  cookie("_fbp", choice === "all", () => `fb.1.${Date.now()}.${random()}`);
}

function cookie(name, wanted, value) {
  const there = document.cookie.split("; ").some((pair) => pair.startsWith(`${name}=`));
  if (wanted && !there) document.cookie = `${name}=${value()}; path=/; SameSite=Lax`;
  if (!wanted && there) document.cookie = `${name}=; path=/; SameSite=Lax; max-age=0`;
}

/** Sends events; fires `change` when the consent or the outbox does. */
export class Tracker extends EventTarget {
  #outbox = JSON.parse(localStorage.getItem(OUTBOX) ?? "[]");
  #sending = false;
  #timer = 0;

  constructor() {
    super();
    vendorCookies(this.consent);
    this.flush();
  }

  get consent() {
    const kept = localStorage.getItem(CONSENT);
    return kept in PURPOSES ? kept : "unasked";
  }

  set consent(choice) {
    localStorage.setItem(CONSENT, choice);
    vendorCookies(choice);
    this.dispatchEvent(new Event("change"));
  }

  /** Events that the gateway has not confirmed. */
  get waiting() {
    return this.#outbox.length;
  }

  /** Note an event and send it. `id` is made by the caller where somebody else has to know it. */
  track(name, fields = {}, id = uuid7()) {
    const consent = PURPOSES[this.consent];
    const event = {
      id,
      name,
      time: new Date().toISOString(),
      page: { url: location.href.replace("#/", ""), title: document.title, referrer: document.referrer || undefined },
      device: { language: navigator.language, screen_width: screen.width, screen_height: screen.height },
      ...fields,
      ...(consent && { consent: { ...consent, explicit: true } }),
    };
    this.#outbox.push(event);
    this.#kept();
    this.flush();
  }

  /** Send what is kept, oldest first; on failure again a second later, with the same ids. */
  async flush() {
    clearTimeout(this.#timer);
    if (this.#sending || !this.#outbox.length) return;
    this.#sending = true;
    const batch = this.#outbox.slice(0, MAX_BATCH);
    const done = await send(batch);
    this.#sending = false;
    if (done) {
      const sent = new Set(batch.map((event) => event.id));
      this.#outbox = this.#outbox.filter((event) => !sent.has(event.id));
      this.#kept();
    }
    if (this.#outbox.length) this.#timer = setTimeout(() => this.flush(), done ? 0 : AGAIN_MS);
  }

  #kept() {
    localStorage.setItem(OUTBOX, JSON.stringify(this.#outbox));
    this.dispatchEvent(new Event("change"));
  }
}

/** Whether the gateway has settled a batch: 2xx and what it refuses for good; not when it is down, busy or full. */
async function send(batch) {
  try {
    // As a beacon: text/plain needs no preflight, keepalive outlives the page, cookies go to the first-party gateway.
    const answer = await fetch(URL_EVENTS, {
      method: "POST",
      headers: { "Content-Type": "text/plain;charset=UTF-8" },
      body: JSON.stringify(batch),
      credentials: "include",
      keepalive: true,
    });
    if (!answer.ok) console.warn("tagway answered", answer.status, await answer.text());
    return answer.status < 500 && answer.status !== 429;
  } catch {
    return false;
  }
}
