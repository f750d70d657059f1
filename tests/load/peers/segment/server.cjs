// Segment's action destinations as a peer: `node server.cjs PORT SINK`, or `node server.cjs loop COUNTED` without a
// network (serve.cjs). A hit becomes Segment's `Order Completed`; three destinations map, validate and send it by the
// default mapping of each. Their endpoints are fixed, so what they send over HTTPS is led to the sink over plain HTTP, the
// one thing that is changed about them.
const http = require('http')
const https = require('https')
const { loop, sender, serve } = require('../serve.cjs')

const [port, sink] = process.argv.slice(2)
if (port === 'loop') {
  const real = require('cross-fetch')
  const unsent = async () => new real.Response('{}', { status: 200, headers: { count: String(++sender.requests) } })
  require.cache[require.resolve('cross-fetch')].exports = Object.assign(unsent, real, { default: unsent, fetch: unsent })
}
const { Destination, defaultValues } = require('@segment/actions-core')
const PACKAGE = '@segment/action-destinations/dist/destinations'
const VENDORS = {
  'graph.facebook.com': 'meta',
  'www.google-analytics.com': 'ga4',
  'business-api.tiktok.com': 'tiktok',
}

https.request = ({ hostname, path, method, headers }, answered) => {
  if (!VENDORS[hostname]) throw new Error(`a request to ${hostname}`)
  return http.request({ host: '127.0.0.1', port: sink, path: `/${VENDORS[hostname]}${path}`, method, headers }, answered)
}

const configured = (slug, action, settings, changes, preset) => {
  const definition = require(`${PACKAGE}/${slug}`).default
  const given = preset && definition.presets.find(({ name }) => name === preset).mapping
  const mapping = { ...(given || defaultValues(definition.actions[action].fields)), ...changes }
  const subscribe = 'type = "track" and event = "Order Completed"'
  return [new Destination(definition), { ...settings, subscriptions: [{ partnerAction: action, subscribe, mapping }] }]
}

const destinations = [
  configured('facebook-conversions-api', 'purchase', { pixelId: '1234567890' }, {
    action_source: 'website',
    custom_data: { order_id: { '@path': '$.properties.order_id' } },
    content_type: 'product',
  }),
  configured('google-analytics-4', 'purchase', { measurementId: 'G-TEST12345', apiSecret: 'S' }, {
    client_id: { '@path': '$.anonymousId' },
    user_id: { '@path': '$.userId' },
    params: {
      page_location: { '@path': '$.context.page.url' },
      page_title: { '@path': '$.context.page.title' },
      page_referrer: { '@path': '$.context.page.referrer' },
    },
  }),
  configured(
    'tiktok-conversions',
    'reportWebEvent',
    { accessToken: 'T', pixelCode: 'C4A' },
    {
      first_name: { '@path': '$.context.traits.firstName' },
      last_name: { '@path': '$.context.traits.lastName' },
    },
    'Complete Payment',
  ),
]

const told = ({ id, time, user, page, ids, props, items }) => ({
  type: 'track',
  event: 'Order Completed',
  messageId: id,
  timestamp: time,
  userId: user.id,
  anonymousId: ids.ga_client_id,
  context: {
    page,
    userAgent: 'bench',
    traits: { email: user.email, phone: user.phone, firstName: user.first_name, lastName: user.last_name },
  },
  properties: {
    order_id: props.transaction_id,
    revenue: props.value,
    total: props.value,
    currency: props.currency,
    tax: props.tax,
    shipping: props.shipping,
    fbp: ids.fbp,
    products: items.map(({ id, name, price, quantity }) => ({ product_id: id, name, price, quantity })),
  },
})

const handle = async (hit) => {
  const event = told(hit)
  await Promise.all(destinations.map(([destination, settings]) => destination.onEvent(event, settings)))
}
if (port === 'loop') loop(Number(sink), handle)
else serve(Number(port), handle)
