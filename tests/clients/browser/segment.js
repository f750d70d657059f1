// A shop's pages that use Segment's browser library, as docs/recipes/segment.md has it.
import { AnalyticsBrowser } from '@segment/analytics-next';

const { host, key, story } = window.shop;
const { ORDER, PRODUCTS, TRAITS } = story;
const analytics = AnalyticsBrowser.load(
  { writeKey: key, cdnURL: `http://${host}` },
  {
    integrations: {
      'Segment.io': {
        apiHost: `${host}/v1`,
        protocol: 'http',
        deliveryStrategy: { config: { credentials: 'include' } },
      },
    },
  },
);
const context = { consent: { categoryPreferences: { C0002: true, C0004: true } } };
const steps = {
  '/': () => analytics.track('Product Viewed', { ...PRODUCTS[0], currency: ORDER.currency }, { context }),
  '/cart': () => analytics.track('Product Added', { ...PRODUCTS[0], currency: ORDER.currency }, { context }),
  '/checkout': () => analytics.track('Checkout Started', { ...ORDER, value: ORDER.total, products: PRODUCTS }, { context }),
  '/thanks': async () => {
    await analytics.identify('u-1', TRAITS, { context });
    const bought = { context: { ...context, traits: TRAITS } };
    return analytics.track('Order Completed', { ...ORDER, products: PRODUCTS }, bought);
  },
};
window.done = (async () => {
  await analytics.page(undefined, 'Cup', {}, { context });
  const { event } = await steps[location.pathname]();
  return event.messageId;
})();
