/**
 * A data layer that is there already: GA4's commands (`gtag('event', …)`) and what is pushed for a tag manager.
 *
 * Taken are GA4's e-commerce and lead events, whatever comes with an `ecommerce` object, every `gtag('event', …)`, and names
 * that the page lists. Google's consent commands are a signal of consent.
 */
import { choicesOf, GRANTED, hear, heard } from './consent';
import { copies, Fields } from './event';
import { auto, LATER, listed, options, safe, TRIES } from './page';
import { consented, track } from './tagway';

const KNOWN =
  /^(view_(item(_list)?|cart|promotion|search_results)|select_(item|promotion)|add_to_(cart|wishlist)|remove_from_cart|begin_checkout|add_(payment|shipping)_info|purchase|refund|sign_up|login|search|share|subscribe|start_trial|contact|schedule|(generate|qualify|close_convert)_lead)$/;

/** Universal Analytics' enhanced e-commerce: its actions and the events they are now. */
const ACTIONS: Record<string, string> = {
  detail: 'view_item',
  add: 'add_to_cart',
  remove: 'remove_from_cart',
  checkout: 'begin_checkout',
  purchase: 'purchase',
  refund: 'refund',
};

/** `user_data` in Google's words. */
const userOf = (given: Fields): Fields => {
  const { sha256_email_address, phone_number, sha256_phone_number, address, email, phone, ...rest } = given;
  const { postal_code, region, ...place } = { ...(Array.isArray(address) ? address[0] : address) };
  return copies({
    ...place,
    zip: postal_code,
    state: region,
    ...rest,
    email: email ?? sha256_email_address,
    phone: phone ?? phone_number ?? sha256_phone_number,
  });
};

let user: Fields = {};

const send = (name: string, params: Fields): void => {
  if (name === 'page_view' && auto('views')) return;
  const {
    user_data, user_id, page_location, page_title, page_referrer, send_to, event_callback, event_timeout, ...rest
  } = { ...user, ...params }; // prettier-ignore
  track(name, {
    ...rest,
    user: { ...copies({ id: user_id }), ...userOf(user_data ?? {}) },
    page: copies({ url: page_location, title: page_title, referrer: page_referrer }),
  });
};

/** Google's states. What is set ahead for a region may not hold here, so of that only what it denies is heard. */
const google = (kind: string, said: Fields): void => {
  const explicit = kind === 'update';
  const name = explicit ? 'google' : said.region ? 'google_region' : 'google_default';
  const choices = choicesOf({ functional: said.functionality_storage, ...said });
  for (const purpose in choices) if (said.region && choices[purpose] === GRANTED) delete choices[purpose];
  hear(name, { choices: { ...heard(name).choices, ...choices }, explicit });
};

const command = (given: ArrayLike<any>): void => {
  const [what, name, params] = Array.from(given);
  if (what === 'event') send(name, params ?? {});
  else if (what === 'set') {
    if (name === 'user_data') user = { ...user, user_data: params };
    else if (name?.user_id) user = { ...user, user_id: name.user_id };
  } else if (what === 'config' && params?.user_id) user = { ...user, user_id: params.user_id };
};

const old = (ecommerce: Fields): [string, Fields] | undefined => {
  for (const action in ACTIONS) {
    const { actionField, products } = ecommerce[action] ?? {};
    if (!products) continue;
    const { id, revenue, ...rest } = actionField ?? {};
    return [ACTIONS[action]!, { currency: ecommerce.currencyCode, transaction_id: id, value: revenue && +revenue, ...rest, items: products }];
  }
  return undefined;
};

const pushed = (entry: Fields): void => {
  const { event: name, ecommerce, user_data, user_id, event_id } = entry;
  if (user_id) user = { ...user, user_id };
  if (user_data) user = { ...user, user_data };
  const before = ecommerce && old(ecommerce);
  if (before) return send(before[0], { ...before[1], event_id });
  if (typeof name !== 'string' || /^gtm\./.test(name)) return;
  if (!ecommerce && !KNOWN.test(name) && !listed(options.events, name) && options.events !== '*') return;
  const params: Fields = {};
  for (const key in entry) {
    const value = entry[key];
    const plain = typeof value === 'number' || typeof value === 'boolean' || (typeof value === 'string' && !value.includes('@'));
    if (plain && key !== 'event' && !/^(gtm|_)/.test(key)) params[key] = value;
  }
  send(name, { ...params, items: entry.items, ...ecommerce });
};

/** Hear the consent that stands in the layer; afterwards read its events, those that are there and those to come. */
export const layer = (): (() => void) => {
  const events = options.layer !== 'off';
  const find = (): any[] | undefined => {
    const found = (window as any)[(events && options.layer) || 'dataLayer'];
    return Array.isArray(found) ? found : undefined;
  };
  const isConsent = (entry: any): boolean => entry?.[0] === 'consent' && entry[2];
  const take = safe((entry: any): void => {
    if (isConsent(entry)) {
      google(entry[1], entry[2]);
      consented();
    } else if (!events || !entry) return;
    else if (typeof entry[0] === 'string') command(entry);
    else pushed(entry);
  });
  const ahead = [...(find() ?? [])].filter(isConsent);
  for (const entry of ahead) google(entry[1], entry[2]);
  if (ahead.length) consented();
  // Where there is no layer yet, it may be made later: making one ourselves would add a name to the page.
  const attach = (tries: number): void => {
    const list = find();
    if (!list) {
      if (tries) setTimeout(safe(() => attach(tries - 1)), LATER);
      return;
    }
    for (const entry of [...list]) if (!ahead.includes(entry)) take(entry);
    const push = list.push;
    list.push = function (...entries) {
      const length = push.apply(this, entries);
      entries.forEach((entry) => take(entry));
      return length;
    };
  };
  return () => attach(TRIES);
};
