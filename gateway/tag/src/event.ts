/** Events in the gateway's canonical shape, made of what a page says in its own or in GA4's words. */

export type Fields = Record<string, any>;

export interface TagEvent {
  id: string;
  name: string;
  time: string;
  page: Fields;
  device: Fields;
  user?: Fields;
  ids?: Fields;
  props?: Fields;
  items?: Fields[];
  consent?: Fields;
  engagement_ms?: number;
}

/** A UUIDv7: time first, so that ids sort as they were made. */
export const uuid7 = (): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const time = Date.now();
  for (let i = 0; i < 6; i++) bytes[i] = time / 2 ** (40 - 8 * i);
  bytes[6] = (bytes[6]! & 15) | 112;
  bytes[8] = (bytes[8]! & 63) | 128;
  return [...bytes].map((byte, i) => (/^([468]|10)$/.test(`${i}`) ? '-' : '') + (byte + 256).toString(16).slice(1)).join('');
};

/** A copy that the page cannot change any more; undefined for what JSON cannot hold. */
const copy = (value: unknown): any => {
  try {
    return JSON.parse(JSON.stringify(value));
  } catch {
    return undefined;
  }
};

export const copies = (fields: Fields = {}): Fields => {
  const made: Fields = {};
  for (const key in fields) {
    const value = copy(fields[key]);
    if (value != null) made[key] = value;
  }
  return made;
};

/** GA4's `item_id` is the canonical `id`, and so on; what has no prefix is canonical already. */
const itemOf = (given: Fields): Fields => {
  const item: Fields = {};
  for (const key in given) item[key === 'item_list_name' ? 'list' : key.replace(/^item_/, '')] ??= given[key];
  return copies(item);
};

/** An event of this page at this moment. `event_id` (or `id`) is kept, so that other tags of the page can share it. */
export const make = (name: string, params: Fields = {}): TagEvent => {
  const { event_id, id, items, user, page, props, ...rest } = params;
  return copies({
    id: `${event_id ?? id ?? uuid7()}`,
    name,
    time: new Date().toISOString(),
    page: { url: location.href, title: document.title, referrer: document.referrer || undefined, ...page },
    device: {
      language: navigator.language,
      screen_width: screen.width,
      screen_height: screen.height,
      viewport_width: innerWidth,
      viewport_height: innerHeight,
    },
    user: copies(user),
    props: copies({ ...rest, ...props }),
    items: Array.isArray(items) ? items.map(itemOf) : undefined,
  }) as TagEvent;
};
