// Tagway: custom pixel for Shopify. Settings → Customer events → Add custom pixel; paste, save, connect (docs/shopify.md).
// Shopify's sandbox gives `analytics`, `browser`, `init` and `api`. There is no page here: cookies come through
// `browser.cookie`, one promise each, and only those that the visitor's choice allows are asked for.
// An order, a checkout and their webhooks have the same ids, so that each is counted once.

const ENDPOINT = "__ENDPOINT__";
const GA4_ID = ""; // "G-…": then the session of Google Analytics goes with the hits

let privacy = init.customerPrivacy;
let chosen = false;
const customerPrivacy = typeof api === "undefined" ? undefined : api.customerPrivacy;
if (customerPrivacy) {
  customerPrivacy.subscribe("visitorConsentCollected", (event) => {
    privacy = event.customerPrivacy;
    chosen = true;
  });
}

/** What the visitor allows; undefined where Shopify does not say. */
function consent() {
  if (!privacy) return undefined;
  const word = (allowed) => (allowed ? "granted" : "denied");
  const marketing = word(privacy.marketingAllowed);
  return {
    ad_storage: marketing,
    ad_user_data: marketing,
    ad_personalization: marketing,
    analytics_storage: word(privacy.analyticsProcessingAllowed),
    functional: word(privacy.preferencesProcessingAllowed),
    sale_opt_out: privacy.saleOfDataAllowed === false,
    explicit: chosen,
  };
}

const mayAdvertise = () => Boolean(privacy && privacy.marketingAllowed);
const mayMeasure = () => Boolean(privacy && (privacy.marketingAllowed || privacy.analyticsProcessingAllowed));

async function cookie(name) {
  try {
    return (await browser.cookie.get(name)) || undefined;
  } catch (error) {
    return undefined;
  }
}

/** The first capture of a pattern in a cookie. */
async function part(name, pattern) {
  const found = pattern.exec((await cookie(name)) || "");
  return found ? found[1] : undefined;
}

async function ids() {
  const found = {};
  if (mayAdvertise()) {
    found.fbp = await cookie("_fbp");
    found.fbc = await cookie("_fbc");
    found.ttp = await cookie("_ttp");
  }
  if (mayMeasure()) {
    found.ga_client_id = await part("_ga", /^GA\d\.\d\.(\d+\.\d+)$/);
    if (GA4_ID) found.ga_session_id = await part("_ga_" + GA4_ID.replace("G-", ""), /^GS\d\.\d\.s?(\d+)/);
  }
  return found;
}

/** `gid://shopify/OrderIdentity/1?key=2` → "1". */
const number = (id) => (id ? (/(\d+)(?:\?.*)?$/.exec(String(id)) || [])[1] : undefined);
const amount = (money) => (money && money.amount != null ? Number(money.amount) : undefined);
const currency = (money) => (money ? money.currencyCode : undefined);

function item(variant, quantity, title) {
  const product = variant.product || {};
  return {
    id: number(variant.id) || number(product.id) || variant.sku || undefined,
    name: title || product.title || undefined,
    brand: product.vendor || undefined,
    category: product.type || undefined,
    variant: variant.title || undefined,
    price: amount(variant.price),
    quantity: quantity,
    sku: variant.sku || undefined,
    product_id: number(product.id),
  };
}

function page(context) {
  const shown = context.document || {};
  return { url: (shown.location || {}).href, title: shown.title || undefined, referrer: shown.referrer || undefined };
}

function device(context) {
  const shown = context.window || {};
  const screen = shown.screen || {};
  return {
    language: (context.navigator || {}).language,
    screen_width: screen.width,
    screen_height: screen.height,
    viewport_width: shown.innerWidth,
    viewport_height: shown.innerHeight,
  };
}

function user(event, checkout) {
  if (!mayMeasure()) return undefined;
  const known = { anonymous_id: event.clientId };
  const customer = (init.data && init.data.customer) || {};
  known.id = number(customer.id);
  if (!mayAdvertise()) return known;
  const address = (checkout && (checkout.billingAddress || checkout.shippingAddress)) || {};
  known.email = (checkout && checkout.email) || customer.email || undefined;
  known.phone = (checkout && checkout.phone) || address.phone || customer.phone || undefined;
  known.first_name = address.firstName || customer.firstName || undefined;
  known.last_name = address.lastName || customer.lastName || undefined;
  known.street = address.address1 || undefined;
  known.city = address.city || undefined;
  known.zip = address.zip || undefined;
  known.state = address.provinceCode || undefined;
  known.country = address.countryCode || undefined;
  return known;
}

async function send(name, event, content) {
  const cart = await cookie("cart");
  const body = {
    name: name,
    id: content.id || event.id,
    time: event.timestamp,
    page: page(event.context || {}),
    device: device(event.context || {}),
    user: user(event, content.checkout),
    ids: await ids(),
    props: { ...content.props, cart_token: content.carted && cart ? cart.split("?")[0] : undefined },
    items: content.items,
    consent: consent(),
  };
  // text/plain needs no preflight, which a sandbox without an origin would not pass; nothing of the answer is read.
  const options = { method: "POST", mode: "no-cors", credentials: "omit", keepalive: true, body: JSON.stringify(body) };
  await fetch(ENDPOINT, { ...options, headers: { "Content-Type": "text/plain" } });
}

/** What an event tells of its checkout; the order has a number once it is complete. */
function ordered(checkout, id) {
  const order = number(checkout.order && checkout.order.id);
  const codes = (checkout.discountApplications || []).filter((one) => one.type === "DISCOUNT_CODE").map((one) => one.title);
  return {
    id: id,
    checkout: checkout,
    carted: true,
    props: {
      transaction_id: order,
      checkout_token: checkout.token || undefined,
      value: amount(checkout.totalPrice),
      currency: currency(checkout.totalPrice) || checkout.currencyCode || undefined,
      tax: amount(checkout.totalTax),
      shipping: amount(checkout.shippingLine && checkout.shippingLine.price),
      coupon: codes.join(",") || undefined,
    },
    items: (checkout.lineItems || []).map((line) => item(line.variant || {}, line.quantity, line.title)),
  };
}

function listen(name, what, tell) {
  analytics.subscribe(name, async (event) => {
    try {
      await send(what, event, tell(event.data || {}));
    } catch (error) {
      console.warn("tagway: " + name + " was not sent", error); // the order's webhook does not depend on it
    }
  });
}

listen("page_viewed", "page_view", () => ({}));

listen("product_viewed", "view_item", (data) => ({
  props: { value: amount(data.productVariant.price), currency: currency(data.productVariant.price) },
  items: [item(data.productVariant, 1)],
}));

listen("product_added_to_cart", "add_to_cart", (data) => ({
  carted: true,
  props: { value: amount(data.cartLine.cost.totalAmount), currency: currency(data.cartLine.cost.totalAmount) },
  items: [item(data.cartLine.merchandise, data.cartLine.quantity)],
}));

listen("checkout_started", "begin_checkout", (data) => ordered(data.checkout, data.checkout.token));
listen("payment_info_submitted", "add_payment_info", (data) => ordered(data.checkout));
listen("checkout_completed", "purchase", (data) => ordered(data.checkout, number(data.checkout.order && data.checkout.order.id)));
