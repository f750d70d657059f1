/** What is measured unasked: clicks, forms, scrolling, time spent, and the clicks that lead here from an advertisement. */
import { GRANTED } from './consent';
import { Fields, TagEvent } from './event';
import { read } from './ids';
import { auto, listen, safe, store } from './page';
import { hooks, track } from './tagway';

const FILES = /\.(pdf|docx?|xlsx?|pptx?|csv|txt|rtf|zip|rar|7z|gz|dmg|exe|apk|mp[34]|mov|avi|wav)$/i;

/** `data-tagway="sign_up" data-tagway-method="mail"` → the event sign_up with the property method. */
const marked = (element: HTMLElement): void => {
  const params: Fields = {};
  for (const [key, value] of Object.entries(element.dataset)) {
    const name = /^tagway(.+)/.exec(key)?.[1];
    if (name) params[name.replace(/^./, (one) => one.toLowerCase()).replace(/[A-Z]/g, (one) => '_' + one.toLowerCase())] = value;
  }
  if (params.value) params.value = +params.value;
  track(element.dataset.tagway!, params);
};

const link = (found: HTMLAnchorElement): void => {
  const url = new URL(found.href);
  if (!/^https?:$/.test(url.protocol)) return;
  const outbound = url.hostname !== location.hostname;
  const file = FILES.exec(url.pathname);
  if (!outbound && !file) return;
  track(file ? 'file_download' : 'click', {
    link_url: url.href,
    link_domain: url.hostname,
    link_text: found.innerText?.trim().slice(0, 100),
    outbound,
    file_name: file ? url.pathname : undefined,
    file_extension: file?.[1],
  });
};

const clicks = (): void =>
  listen(document, 'click auxclick', (event: MouseEvent) => {
    const target = event.target as Element;
    if (event.button > 1) return;
    const mark = target.closest<HTMLElement>('[data-tagway]:not(form)');
    const anchor = target.closest<HTMLAnchorElement>('a[href]');
    if (mark) marked(mark);
    else if (anchor) link(anchor);
  });

/** Which form was sent, never what was written into it. */
const forms = (): void =>
  listen(document, 'submit', (event: SubmitEvent) => {
    const form = event.target as HTMLFormElement;
    if (form.dataset.tagway) return marked(form);
    const attribute = (name: string) => form.getAttribute(name) ?? undefined;
    track('form_submit', {
      form_id: attribute('id'),
      form_name: attribute('name'),
      form_destination: new URL(attribute('action') ?? '', location.href).href.split('?')[0],
    });
  });

const scroll = (): void => {
  let done = false;
  hooks.made.push(({ name }) => {
    if (name === 'page_view') done = false;
  });
  listen(document, 'scroll', () => {
    const { scrollTop, scrollHeight } = document.documentElement;
    if (done || scrollHeight <= innerHeight || scrollTop + innerHeight < scrollHeight * 0.9) return;
    done = true;
    track('scroll', { percent_scrolled: 90 });
  });
};

/** Time in which the page was to be seen and had the focus, on every event since the last. */
const engagement = (): void => {
  let since = 0;
  let spent = 0;
  const look = (): void => {
    const now = performance.now();
    if (since) spent += now - since;
    since = document.visibilityState === 'visible' && document.hasFocus() ? now : 0;
  };
  hooks.made.push((event: TagEvent) => {
    look();
    if (spent >= 1) event.engagement_ms = Math.round(spent);
    spent = 0;
  });
  hooks.left.push(() => {
    look();
    if (spent >= 1e3) track('user_engagement', undefined, false);
  });
  listen(document, 'visibilitychange', look);
  listen(window, 'focus blur pageshow', look);
  look();
};

const QUARTER = /^(gclid|dclid|gbraid|wbraid|fbclid|msclkid|rdt_cid)$/;
const CLICKS = /^(gclid|dclid|gbraid|wbraid|fbclid|msclkid|rdt_cid|ttclid|twclid|li_fat_id|sccid|epik)$/i;
const DAY = 864e5;
const KEPT = '_tw_click';

/** Click ids of this visit and, where the visitor allows it, of the visits before, each as long as its platform counts it. */
const advertisement = (): void => {
  const now = Date.now();
  const found: [string, string, number][] = [];
  for (const [key, value] of new URLSearchParams(location.search))
    if (CLICKS.test(key) && /^[\w.~=+/-]{1,512}$/.test(value)) found.push([key.toLowerCase(), value, now]);
  hooks.ids.push((consent, past) => {
    if (consent.ad_storage !== GRANTED) {
      safe(() => store?.removeItem(KEPT))();
      return {};
    }
    const kept = safe((): typeof found => JSON.parse(store!.getItem(KEPT)!))() ?? [];
    const fresh = found.filter(([key, value]) => !kept.some((one) => one[0] === key && one[1] === value));
    const all = [...kept.filter(([key]) => !fresh.some((one) => one[0] === key)), ...fresh].filter(
      ([key, , time]) => now - time < (QUARTER.test(key) ? 90 : 28) * DAY,
    );
    if (all.length && !past) safe(() => store?.setItem(KEPT, JSON.stringify(all)))();
    const ids: Fields = {};
    for (const [key, value, time] of all) {
      ids[key] = value;
      if (key === 'fbclid') ids.fbc = `fb.1.${time}.${value}`;
    }
    return ids;
  });
  hooks.ids.push(read);
};

/** All that the page wants of it. */
export const measure = (): void => {
  hooks.made.push((event) => {
    event.device.timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  });
  advertisement();
  const parts = { engagement, clicks, forms, scroll };
  for (const [name, part] of Object.entries(parts)) if (auto(name)) part();
};
