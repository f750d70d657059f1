// A shop's server that uses Snowplow's Node tracker: `node snowplow_node.cjs BASE KEY get|post STORY` (tests/clients/story.py as JSON).
const { buildEcommerceTransaction, buildEcommerceTransactionItem, buildPageView, newTracker } = require('@snowplow/node-tracker')

const [base, key, method, told] = process.argv.slice(2)
const { CONTEXT, ORDER, PRODUCTS } = JSON.parse(told)
const { hostname, port } = new URL(base)
const calls = 2 + PRODUCTS.length
const failures = []
let heard = 0
const hear = (events) => {
  heard += events
  if (heard === calls) console.log(JSON.stringify(failures))
}
const tracker = newTracker(
  { namespace: 'sp', appId: key, encodeBase64: method === 'get' },
  {
    endpoint: hostname,
    port: Number(port),
    protocol: 'http',
    eventMethod: method,
    bufferSize: method === 'get' ? 1 : calls,
    onRequestSuccess: (batch) => hear(batch.length),
    onRequestFailure: (failure) => {
      failures.push(String(failure.message))
      hear(failure.events.length)
    },
  },
)
tracker.setPlatform('web')
tracker.setUserId('u-1')
tracker.setIpAddress(CONTEXT.ip)
tracker.setUseragent(CONTEXT.userAgent)
const { order_id: orderId, total, currency, tax, shipping } = ORDER
tracker.track(buildPageView({ pageUrl: CONTEXT.page.url, pageTitle: CONTEXT.page.title, referrer: CONTEXT.page.referrer }))
tracker.track(buildEcommerceTransaction({ orderId, total, currency, tax, shipping }))
for (const { product_id: sku, name, category, price, quantity } of PRODUCTS)
  tracker.track(buildEcommerceTransactionItem({ orderId, sku, name, category, price, quantity, currency }))
