// A shop's pages that use @minimal-analytics/ga4 in place of gtag.js: all it is told is another endpoint.
window.minimalAnalytics = { analyticsEndpoint: `http://${window.shop.host}/g/collect` };
const { track } = await import('@minimal-analytics/ga4');

const { measurement, story } = window.shop;
const { ORDER, PRODUCTS } = story;
const item = ({ product_id, name, category, price, quantity }) =>
  `id${product_id}~nm${name}~ca${category}~pr${price}~qt${quantity}`;
const items = Object.fromEntries(PRODUCTS.map((product, n) => [`pr${n + 1}`, item(product)]));
const order = { cu: ORDER.currency, 'epn.value': ORDER.total };
const steps = {
  '/': ['view_item', { ...order, pr1: items.pr1 }],
  '/cart': ['add_to_cart', { ...order, pr1: items.pr1 }],
  '/checkout': ['begin_checkout', { ...order, ...items }],
  '/thanks': [
    'purchase',
    { ...order, ...items, 'ep.transaction_id': ORDER.order_id, 'epn.tax': ORDER.tax, 'epn.shipping': ORDER.shipping, uid: 'u-1' },
  ],
};
track(measurement);
const [type, event] = steps[location.pathname];
track(measurement, { type, event });
window.done = Promise.resolve('');
