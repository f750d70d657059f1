/** Consent tools that speak the IAB's interfaces: `__tcfapi` (TCF) and `__gpp` (GPP, the states of the US). */
import { DENIED, GRANTED, hear } from './consent';
import { LATER, safe, TRIES } from './page';
import { consented } from './tagway';

/** TCF's purposes in Google's words, by Google's own table; analytics, which that leaves out, is 1 and (8 or 9). */
const tcf = safe((data: any, ok: boolean): void => {
  if (!ok || !data) return;
  if (data.gdprApplies === false) hear('tcf', { choices: {}, explicit: false }, true);
  else if (/^(tcloaded|useractioncomplete)$/.test(data.eventStatus)) {
    const yes = (purpose: number): boolean => !!data.purpose?.consents?.[purpose];
    const word = (allowed: boolean): string => (allowed ? GRANTED : DENIED);
    hear('tcf', {
      choices: {
        ad_storage: word(yes(1)),
        ad_user_data: word(yes(1) && yes(7)),
        ad_personalization: word(yes(3) && yes(4)),
        analytics_storage: word(yes(1) && (yes(8) || yes(9))),
      },
      explicit: true,
      text: data.tcString && { tcf: data.tcString },
    });
  } else return;
  consented();
});

/** GPP: the gateway reads the string; here it only counts as an answer. */
const gpp = safe((event: any, ok: boolean): void => {
  const ping = event?.pingData;
  if (!ok || ping?.signalStatus !== 'ready' || !ping.gppString) return;
  hear('gpp', { choices: {}, explicit: false, text: { gpp: ping.gppString, gpp_sid: ping.applicableSections?.join('_') } }, true);
  consented();
});

/** Ask each interface once it is there. */
export const tools = (tries = TRIES): void => {
  const page = window as any;
  const asked = page.__tcfapi || page.__gpp;
  page.__tcfapi?.('addEventListener', 2, tcf);
  page.__gpp?.('addEventListener', gpp);
  if (!asked && tries) setTimeout(safe(() => tools(tries - 1)), LATER);
};
