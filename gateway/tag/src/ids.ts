/**
 * Ids that other tags left in this site's own cookies, read only as far as the visitor allows, for a gateway to which the
 * browser sends no cookies. None is made here.
 */
import { GRANTED } from './consent';
import { Fields } from './event';

/** Purpose, cookie, key of `ids`, and what of the value is the id. */
const COOKIES: [string, RegExp, string, RegExp][] = [
  ['analytics_storage', /^_ga$/, 'ga_client_id', /^GA1\.[\d-]+\.(\d+\.\d+)$/],
  ['analytics_storage', /^_ga_\w+$/, 'ga_session_id', /^GS\d\.\d+\.s?(\d+)/],
  ['ad_storage', /^_(fb[pc])$/, '', /^(fb\.\d\.\d+\..+)$/],
  ['ad_storage', /^_gcl_aw$/, 'gclid', /^GCL\.\d+\.(.+)$/],
  ['ad_storage', /^_uetmsclkid$/, 'msclkid', /^_uet(.+)$/],
  ['ad_storage', /^_?(ttp|ttclid|scid|sccid|epik|rdt_uuid|rdt_cid|li_fat_id)$/, '', /^(.+)$/],
];

/** The ids for an event with this consent. */
export const read = (consent: Fields): Fields => {
  const ids: Fields = {};
  for (const pair of document.cookie.split('; ')) {
    const at = pair.indexOf('=');
    for (const [purpose, name, key, form] of COOKIES) {
      const named = name.exec(pair.slice(0, at));
      const value = named && consent[purpose] === GRANTED && form.exec(pair.slice(at + 1));
      if (value) ids[key || named[1]!] ??= value[1];
    }
  }
  return ids;
};
