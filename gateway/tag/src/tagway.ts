/**
 * `tagway(command, …)`, the tag's only global, and the way of an event through the tag: made at once, held while the visitor
 * has not answered (with `hold`), stamped with the consent and ids of that moment, put into the outbox.
 */
import { choicesOf, decide, DENIED, GRANTED, hear, heard, isAnswered, PURPOSES } from './consent';
import { copies, Fields, make, TagEvent } from './event';
import { allow, flush, leave, note, noted, put, restrict, tell } from './outbox';
import { auto, held, listen, options, safe } from './page';

type Command = { (...given: unknown[]): unknown; q?: ArrayLike<unknown>[]; lastId?: string; version?: number };

declare global {
  interface Window {
    tagway?: Command;
  }
}

/** What further parts of the tag hang on to. */
export const hooks = {
  /** Adds to an event when it is made. */
  made: [] as ((event: TagEvent) => void)[],
  /** Adds ids that this consent allows; of `past` consents nothing more is kept. */
  ids: [] as ((consent: Fields, past?: boolean) => Fields)[],
  /** The page is left, perhaps for good. */
  left: [] as (() => void)[],
};

const holding: [TagEvent, boolean][] = [];
let user: Fields = {};
let known: Fields = {};
let granted: string[] | undefined;

const dispatch = (event: TagEvent, lasting: boolean): void => {
  const consent = decide();
  if (consent) {
    event.consent = decide(true);
    const ids = Object.assign({}, ...hooks.ids.map((more) => more(consent)));
    if (Object.keys(ids).length) event.ids = known = ids;
    if (PURPOSES.every((purpose) => consent[purpose] !== GRANTED)) delete event.user;
  }
  put(event, lasting);
};

/** Make an event and send it, now or when the visitor has answered; its id. */
export const track = (name: string, params?: Fields, lasting = true): string => {
  const event = make(name, params);
  event.user = { ...user, ...event.user };
  for (const more of hooks.made) more(event);
  if (held() && !isAnswered()) holding.push([event, lasting]);
  else dispatch(event, lasting);
  return (tagway.lastId = event.id);
};

/**
 * To be called whenever a signal was heard: tells the gateway of a changed answer, and lets go of what was held.
 *
 * Most pages set `denied` ahead until their tool has loaded. So only an answer takes something away, and only an answer lifts
 * an earlier withdrawal: of somebody whom the gateway can have known.
 */
export const consented = safe((): void => {
  const block = decide() ?? {};
  const yes = PURPOSES.filter((purpose) => block[purpose] === GRANTED);
  const answer: boolean = block.explicit;
  if (answer || yes.length) {
    const before = granted ?? noted();
    const lost = before.filter((purpose) => answer && block[purpose] === DENIED);
    const gained = yes.filter((purpose) => !before.includes(purpose));
    const now = (granted = answer ? yes : [...before, ...gained]);
    const may = yes.some((purpose) => /_storage/.test(purpose));
    restrict(lost);
    if (may || answer) allow(may);
    const past: Fields = {};
    for (const purpose of [...before, ...yes]) past[purpose] = GRANTED;
    const ids = Object.assign({}, known, ...hooks.ids.map((more) => more(past, true)));
    hooks.ids.forEach((more) => more(block));
    if (lost.length || (answer && gained.length && Object.keys({ ...user, ...ids }).length)) {
      const consent: Fields = {};
      for (const purpose of lost) consent[purpose] = DENIED;
      for (const purpose of gained) consent[purpose] = GRANTED;
      tell({ user, ids, consent }, () => note(now));
    } else note(now);
  }
  if (isAnswered()) for (const [event, lasting] of holding.splice(0)) dispatch(event, lasting);
});

const commands: Record<string, (...given: any[]) => unknown> = {
  event: (name: string, params?: Fields) => name && track(`${name}`, params),
  identify: (said: Fields) => {
    user = { ...user, ...copies(said) };
    return track('identify');
  },
  config: (said: Fields) => {
    Object.assign(options, said);
  },
  /** `('consent', {…})`, `('consent', 'granted')`, and as Google's: `('consent', 'default' | 'update', {…})`. */
  consent: (kind: string | Fields, said: string | Fields = kind) => {
    const name = kind === 'default' ? 'default' : 'call';
    const { choices, optOut } = heard(name);
    hear(name, {
      choices: { ...choices, ...choicesOf(said) },
      explicit: name === 'call',
      optOut: (said as Fields).sale_opt_out ?? optOut,
    });
    consented();
  },
};

const tagway: Command = safe((command: any, ...given: unknown[]) => commands[command]?.(...given));

let referrer: string | undefined;

/** Page views: of this page, and of each that a single-page application shows in its place. */
const views = (): void => {
  let last = '';
  const view = safe((): void => {
    // What stands behind # is a page only where it begins like a path.
    const here = location.href.replace(/#(?![/!]).*/, '');
    if (here === last) return;
    referrer = last;
    last = here;
    track('page_view');
  });
  hooks.made.push((event) => {
    if (referrer) event.page.referrer = referrer;
  });
  const later = (): void => {
    setTimeout(view, 0);
  };
  for (const name of ['pushState', 'replaceState'] as const) {
    const original = history[name];
    history[name] = function (...given) {
      const result = original.apply(this, given);
      later();
      return result;
    };
  }
  listen(window, 'popstate hashchange', later);
  view();
};

/** Begin; `more` are the parts that come before the first page view, each with what it does afterwards. */
export const start = (more: (() => (() => void) | void)[] = []): void => {
  const before = window.tagway;
  if (before?.version) return;
  window.tagway = tagway;
  tagway.version = 1;
  const begin = safe((): void => {
    if (navigator['globalPrivacyControl' as keyof Navigator]) hear('gpc', { choices: {}, explicit: false, optOut: true });
    const say = (wanted: RegExp): void => {
      for (const one of before?.q ?? []) if (wanted.test(`${one[0]}`)) tagway(...(Array.from(one) as [unknown]));
    };
    say(/^config$/);
    const after = more.map((part) => safe(part)());
    say(/^(consent|identify)$/);
    if (auto('views')) views();
    say(/^event$/);
    for (const go of after) go && go();
  });
  const left = (): void => hooks.left.forEach((leaving) => leaving());
  listen(document, 'visibilitychange', () => {
    if (document.visibilityState !== 'hidden') return;
    left();
    flush();
  });
  listen(window, 'pagehide pageshow', ({ type }) => {
    const going = type === 'pagehide';
    if (going) left();
    leave(going);
  });
  if ((document as any).prerendering) listen(document, 'prerenderingchange', begin);
  else begin();
};
