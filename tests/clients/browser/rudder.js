// A shop's pages that use RudderStack's browser library, as docs/recipes/segment.md has it.
import { RudderAnalytics } from '@rudderstack/analytics-js/bundled';

const { host, key, story } = window.shop;
const { ORDER, PRODUCTS, TRAITS } = story;
const analytics = new RudderAnalytics();
const steps = {
  '/': () => analytics.track('Product Viewed', { ...PRODUCTS[0], currency: ORDER.currency }),
  '/cart': () => analytics.track('Product Added', { ...PRODUCTS[0], currency: ORDER.currency }),
  '/checkout': () => analytics.track('Checkout Started', { ...ORDER, value: ORDER.total, products: PRODUCTS }),
  '/thanks': () => {
    analytics.identify('u-1', TRAITS);
    analytics.track('Order Completed', { ...ORDER, event_id: 'o-1', products: PRODUCTS });
  },
};
analytics.load(key, `http://${host}`, {
  configUrl: `http://${host}`,
  consentManagement: { enabled: true, provider: 'custom', allowedConsentIds: ['C0002', 'C0004'], deniedConsentIds: [] },
});
analytics.page('Cup');
steps[location.pathname]();
window.done = new Promise((resolve) => analytics.ready(() => resolve('')));
