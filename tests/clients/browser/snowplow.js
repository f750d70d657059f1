// A shop's pages that use Snowplow's browser tracker with its e-commerce plugin, as docs/recipes/snowplow.md has it.
import { newTracker, setUserId, trackPageView } from '@snowplow/browser-tracker';
import {
  SnowplowEcommercePlugin,
  trackAddToCart,
  trackCheckoutStep,
  trackProductView,
  trackTransaction,
} from '@snowplow/browser-plugin-snowplow-ecommerce';

const { host, key, story } = window.shop;
const { ORDER, PRODUCTS } = story;
const products = PRODUCTS.map(({ product_id, ...rest }) => ({ id: product_id, currency: ORDER.currency, ...rest }));
const heard = new Promise((resolve, reject) => {
  newTracker('shop', `http://${host}`, {
    appId: key,
    plugins: [SnowplowEcommercePlugin()],
    onRequestSuccess: () => resolve(),
    onRequestFailure: (failure) => reject(new Error(failure.message)),
  });
});
const steps = {
  '/': () => trackProductView(products[0]),
  '/cart': () => trackAddToCart({ products: [products[0]], total_value: products[0].price, currency: ORDER.currency }),
  '/checkout': () => trackCheckoutStep({ step: 1 }),
  '/thanks': () =>
    trackTransaction({
      transaction_id: ORDER.order_id,
      revenue: ORDER.total,
      currency: ORDER.currency,
      tax: ORDER.tax,
      shipping: ORDER.shipping,
      payment_method: 'card',
      total_quantity: 3,
      products,
    }),
};
setUserId('u-1');
trackPageView();
steps[location.pathname]();
window.done = heard.then(() => '');
