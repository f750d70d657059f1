/** Consent tools that speak the IAB's interfaces: `__tcfapi` (TCF) and `__gpp` (GPP, the states of the US). */
import { DENIED, GRANTED, hear } from './consent';
import { safe } from './page';
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
    });
  } else return;
  consented();
});

const OUT = /"(Sale|Sharing|TargetedAdvertising)OptOut":1\b|"Gpc":(true|1)\b|"KnownChild\w*":(1\b|\[[^\]]*\b1\b)|"1[YN-]Y/;
const NOT_OUT = /"(Sale|Sharing|TargetedAdvertising)OptOut":2\b|"1[YN]N/;

/** GPP's sections of the US: one opt-out of sale, sharing or targeted advertising is one. */
const gpp = safe((event: any, ok: boolean): void => {
  const ping = event?.pingData;
  if (!ok || !ping || ping.signalStatus !== 'ready') return;
  const said = JSON.stringify(ping.parsedSections ?? {});
  const optOut = OUT.test(said) || (NOT_OUT.test(said) ? false : undefined);
  hear('gpp', { choices: {}, explicit: false, optOut }, true);
  consented();
});

/** Ask each interface once it is there. */
export const tools = (tries = 20): void => {
  const page = window as any;
  const asked = page.__tcfapi || page.__gpp;
  page.__tcfapi?.('addEventListener', 2, tcf);
  page.__gpp?.('addEventListener', gpp);
  if (!asked && tries) setTimeout(safe(() => tools(tries - 1)), 500);
};
