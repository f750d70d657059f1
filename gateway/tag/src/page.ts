/**
 * The page that the tag is a guest of: where it was loaded from, its options, and how to touch the page without ever throwing
 * into it.
 */

/** What the page may set: attributes of the script (`data-hold`) or `tagway('config', {hold: true})`. */
export interface Options {
  /** Keep hits in the browser until the visitor has answered. */
  hold?: boolean | string;
  /** What is measured unasked, in words: `views clicks forms scroll engagement`. Default: all; `off`: nothing. */
  auto?: string;
  /** The data layer to read: its name (default `dataLayer`), or `off`. Google's consent commands are read all the same. */
  layer?: string;
  /** Further names of events that are taken from the data layer, with blanks; `*`: all. */
  events?: string;
}

const script = document.currentScript as HTMLScriptElement | null;

export const options: Options = { ...script?.dataset };

export const held = (): boolean => options.hold != null && `${options.hold}` !== 'false';

export const listed = (words: string | undefined, word: string): boolean => !!words && words.split(/[\s,]+/).includes(word);

export const auto = (what: string): boolean => options.auto == null || listed(options.auto, what);

/** An address of the gateway, relative to the tag's own; with the tag's write key where its address has one. */
export const address = (path: string): string => {
  const own = new URL(script!.src);
  const url = new URL(path, own);
  const key = own.searchParams.get('k');
  if (key) url.searchParams.set('k', key);
  return url.href;
};

/** How often, and after how many ms, something is looked for that the page may load after the tag. */
export const TRIES = 20;
export const LATER = 500;

/** The same function, but what goes wrong in it stays in it. */
export const safe =
  <A extends unknown[], R>(work: (...given: A) => R) =>
  (...given: A): R | undefined => {
    try {
      return work(...given);
    } catch {
      return undefined;
    }
  };

export const listen = (target: EventTarget, names: string, work: (event: any) => void): void => {
  for (const name of names.split(' ')) target.addEventListener(name, safe(work), true);
};

/** The storage of this origin; undefined where the browser gives us none. */
export const store: Storage | undefined = safe(() => localStorage)();
