/**
 * What the gateway has not confirmed yet.
 *
 * Each event is sent at once; what fails is sent again, on this page after a while and, where the visitor allows storage, on
 * the next page, always with the same id, by which the gateway knows it. When the page goes, what has not left yet goes as a
 * beacon. A visitor's new choice goes ahead of all events. Bodies are text/plain, so that no preflight is needed.
 */
import { address, safe, store } from './page';
import { Fields, TagEvent } from './event';

interface Waiting {
  event: TagEvent;
  lasting: boolean;
  flying?: boolean;
}

interface Choice {
  said: Fields;
  heard: () => void;
  flying?: boolean;
}

const NOTE = '_tw';
const KEY = NOTE + ':';
const TWO_DAYS = 1728e5;
const JUST_NOW = 3e3;
const MAX_EVENTS = 25;
const MAX_KEEPALIVE = 6e4;
const MAX_WAIT = 6e4;

const waiting = new Map<string, Waiting>();
let choice: Choice | undefined;
let keeps = false;
let fails = 0;
let gone = false;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Whether an answer means that the hit need not come again: it was taken, or is refused for good. */
const settled = (status: number): boolean => /^([23]|4(?!08|29))/.test(`${status}`);

const post = (path: string, body: string): Promise<boolean> =>
  fetch(address(path), { method: 'POST', body, credentials: 'include', keepalive: body.length < MAX_KEEPALIVE }).then(
    (answer) => settled(answer.status),
    () => false,
  );

const keep = safe((one: Waiting): void => {
  if (keeps && one.lasting) store?.setItem(KEY + one.event.id, JSON.stringify(one.event));
});

const drop = safe((id: string): void => {
  waiting.delete(id);
  store?.removeItem(KEY + id);
});

const kept = (): string[] => Object.keys(store ?? {}).filter((key) => key.startsWith(KEY));

/** Go on; after a failure later, each time, up to a minute. */
const next = (well: boolean): void => {
  clearTimeout(timer);
  fails = well ? 0 : fails + 1;
  if (well) flush();
  else timer = setTimeout(() => flush(), Math.min(MAX_WAIT, 500 * 2 ** fails));
};

/** Put an event in; one that would be worth nothing tomorrow is not `lasting`. */
export const put = (event: TagEvent, lasting = true): void => {
  const one = { event, lasting };
  waiting.set(event.id, one);
  keep(one);
  if (gone) flush(true);
  else Promise.resolve().then(() => fails || flush());
};

/** Send a visitor's choice before any further event, again and again until it was `heard`. */
export const tell = (said: Fields, heard: () => void): void => {
  choice = { said: { ...said, consent: { ...choice?.said.consent, ...said.consent } }, heard };
  if (!fails) flush();
};

const sendChoice = (one: Choice): void => {
  if (one.flying) return;
  one.flying = true;
  post('%consent%', JSON.stringify(one.said)).then((well) => {
    one.flying = false;
    if (well && choice === one) {
      choice = undefined;
      one.heard();
    }
    next(well);
  });
};

/** The page goes, or comes back as it was. */
export const leave = (now: boolean): void => {
  gone = now;
  flush(now);
};

/** Send what has not left; `last`: the page goes, and what has not left by now goes as a beacon. */
export const flush = safe((last?: boolean): void => {
  if (choice && !last) return sendChoice(choice);
  const batch = [...waiting.values()].filter((one) => !one.flying).slice(0, MAX_EVENTS);
  if (!batch.length) return;
  const body = JSON.stringify(batch.map((one) => one.event));
  if (last && navigator.sendBeacon?.(address('%events%'), body)) {
    // Nobody will say whether it arrived: what is kept is sent again by the next page, the rest is gone.
    for (const one of batch) waiting.delete(one.event.id);
    return;
  }
  for (const one of batch) one.flying = true;
  post('%events%', body).then((well) => {
    for (const one of batch) {
      one.flying = false;
      if (well) drop(one.event.id);
    }
    next(well);
  });
});

/** Take up what earlier pages kept, but for what another page may be sending at this moment. */
const sweep = safe((): void => {
  for (const key of kept()) {
    const event = safe((): TagEvent => JSON.parse(store!.getItem(key)!))();
    const age = event ? Date.now() - Date.parse(event.time) : NaN;
    if (!(age < TWO_DAYS)) store!.removeItem(key);
    else if (keeps && age > JUST_NOW && !waiting.has(event!.id)) waiting.set(event!.id, { event: event!, lasting: true });
  }
  if (!fails) flush();
});

/** Whether anything may be kept on the device from now on. If not, what was kept goes. */
export const allow = safe((may: boolean): void => {
  if (may && !keeps) setTimeout(sweep, JUST_NOW + 1e3);
  keeps = may;
  if (may) {
    waiting.forEach((one) => keep(one));
    sweep();
  } else for (const key of kept()) store!.removeItem(key);
});

/** Which purposes were granted when something was last kept here. */
export const noted = (): string[] => safe(() => store!.getItem(NOTE)!.split(','))() ?? [];

/** Keep that note beside what is kept, or take it away; not before the gateway knows of it. */
export const note = safe((granted: string[]): void => {
  if (choice) return;
  if (keeps) store?.setItem(NOTE, granted.join());
  else store?.removeItem(NOTE);
});

/** What waits here loses the purposes that were withdrawn. */
export const restrict = (purposes: string[]): void => {
  for (const { event } of waiting.values()) for (const purpose of purposes) event.consent = { ...event.consent, [purpose]: 'denied' };
};
