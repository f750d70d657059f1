/**
 * What the visitor said, from every signal that spoke, as the canonical block of an event.
 *
 * Per purpose an answer of the visitor outweighs what a page or tool set ahead, and of two that disagree `denied` holds. One
 * opt-out of sale outweighs all that do not opt out. Nothing here is kept on the device.
 */
import { Fields } from './event';

export const PURPOSES = ['ad_storage', 'ad_user_data', 'ad_personalization', 'analytics_storage', 'functional'];
export const GRANTED = 'granted';
export const DENIED = 'denied';

export interface Signal {
  choices: Fields;
  /** Whether it is the visitor's answer, not a default. */
  explicit: boolean;
  optOut?: boolean;
  /** The string that says it all, for the gateway to read: what it says here is then for this page alone. */
  text?: Fields;
}

const signals: Record<string, Signal> = {};
let answered = false;

/** Hear a signal; a later one of the same name takes its place. `answer`: the visitor was asked, and is not asked any more. */
export const hear = (name: string, signal: Signal, answer = signal.explicit): void => {
  signals[name] = signal;
  answered ||= answer;
};

/** What a signal of this name said before. */
export const heard = (name: string): Partial<Signal> => signals[name] ?? {};

export const isAnswered = (): boolean => answered;

/** What is said per purpose, as `granted`, `denied`, true or false; `'denied'` says it of all at once. */
export const choicesOf = (said: Fields | string): Fields => {
  const choices: Fields = {};
  for (const purpose of PURPOSES) {
    const word = typeof said === 'string' ? said : said[purpose];
    if (word === true || word === GRANTED) choices[purpose] = GRANTED;
    if (word === false || word === DENIED) choices[purpose] = DENIED;
  }
  return choices;
};

/** What holds now, or with `wire` the block of an event that is sent now; undefined while nobody has spoken. */
export const decide = (wire?: boolean): Fields | undefined => {
  const texts = Object.assign({}, ...Object.values(signals).map((one) => one.text));
  const all = Object.values(signals).filter((one) => !wire || !one.text);
  const explicit = all.some((one) => one.explicit);
  const block: Fields = {};
  for (const purpose of PURPOSES) {
    const say = (own: boolean): string | undefined => {
      const words = all.filter((one) => one.explicit === own).map((one) => one.choices[purpose]);
      return words.includes(DENIED) ? DENIED : words.find((word) => word);
    };
    const ahead = say(false);
    // A grant set ahead is not passed off as the visitor's among answers that are.
    const word = say(true) ?? (explicit && ahead === GRANTED ? undefined : ahead);
    if (word) block[purpose] = word;
  }
  const optOuts = all.map((one) => one.optOut).filter((one) => one != null);
  if (optOuts.length) block.sale_opt_out = optOuts.includes(true);
  const spoken = Object.keys(block).length;
  if (spoken) block.explicit = explicit;
  return spoken || texts.tcf || texts.gpp ? { ...block, ...texts } : undefined;
};
