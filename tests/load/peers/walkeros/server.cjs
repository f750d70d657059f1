// walkerOS as a peer: `node server.cjs PORT SINK`, or `node server.cjs loop COUNTED` without a network (serve.cjs). A hit
// becomes an event of the collector; three API destinations, each behind a consent, make a vendor's body of it by mappings
// of walkerOS and post it with walkerOS's own client.
const { startFlow } = require('@walkeros/collector')
const { destinationAPI } = require('@walkeros/server-destination-api')
const { getHashServer } = require('@walkeros/server-core')
const { loop, sender, serve } = require('../serve.cjs')

const [port, sink] = process.argv.slice(2)
const lower = (text) => text.trim().toLowerCase()
const digits = (text) => text.replace(/[^0-9]/g, '')
const hashed = (field, clean = lower) => ({ fn: (event) => getHashServer(clean(event.user[field])) })
const item = (map) => ({ loop: ['nested', { map }] })
const seconds = { fn: (event) => Math.round(event.timestamp / 1000) }
const money = { value: 'data.value', currency: 'data.currency' }

const meta = {
  event_name: { value: 'Purchase' },
  event_id: 'data.event_id',
  event_time: seconds,
  action_source: { value: 'website' },
  event_source_url: 'data.url',
  user_data: {
    map: {
      em: { set: [hashed('email')] },
      ph: { set: [hashed('phone', digits)] },
      fn: { set: [hashed('first_name')] },
      ln: { set: [hashed('last_name')] },
      external_id: { set: [hashed('id')] },
      fbp: 'data.fbp',
    },
  },
  custom_data: {
    map: {
      ...money,
      order_id: 'data.transaction_id',
      content_type: { value: 'product' },
      contents: item({ id: 'data.id', quantity: 'data.quantity', item_price: 'data.price', title: 'data.name' }),
    },
  },
}

const ga4 = {
  name: { value: 'purchase' },
  timestamp_micros: { fn: (event) => event.timestamp * 1000 },
  params: {
    map: {
      engagement_time_msec: { value: 1 },
      page_location: 'data.url',
      page_title: 'data.title',
      page_referrer: 'data.referrer',
      ...money,
      transaction_id: 'data.transaction_id',
      tax: 'data.tax',
      shipping: 'data.shipping',
      items: item({ item_id: 'data.id', item_name: 'data.name', price: 'data.price', quantity: 'data.quantity' }),
    },
  },
}

const tiktok = {
  event: { value: 'Purchase' },
  event_id: 'data.event_id',
  event_time: seconds,
  user: {
    map: {
      email: hashed('email'),
      phone: hashed('phone', (text) => `+${digits(text)}`),
      first_name: hashed('first_name'),
      last_name: hashed('last_name'),
      external_id: hashed('id'),
    },
  },
  properties: {
    map: {
      ...money,
      order_id: 'data.transaction_id',
      content_type: { value: 'product' },
      contents: item({
        content_id: 'data.id',
        content_name: 'data.name',
        price: 'data.price',
        quantity: 'data.quantity',
      }),
    },
  },
  page: { map: { url: 'data.url', referrer: 'data.referrer' } },
}

const unsent = async () => ({ ok: true, data: ++sender.requests })

const destination = (path, consent, headers, map) => ({
  code: destinationAPI,
  ...(port === 'loop' && { env: { sendServer: unsent } }),
  config: {
    settings: { url: `http://127.0.0.1:${sink}${path}`, headers },
    consent: { [consent]: true },
    mapping: { order: { complete: { data: { map } } } },
  },
})

const destinations = {
  meta: destination('/meta/v22.0/1234567890/events', 'ad_storage', { Authorization: 'Bearer T' }, {
    data: { set: [{ map: meta }] },
  }),
  ga4: destination('/ga4/mp/collect?api_secret=S&measurement_id=G-TEST12345', 'analytics_storage', {}, {
    client_id: 'data.client_id',
    user_id: 'user.id',
    events: { set: [{ map: ga4 }] },
  }),
  tiktok: destination('/tiktok/open_api/v1.3/event/track/', 'ad_storage', { 'Access-Token': 'T' }, {
    event_source: { value: 'web' },
    event_source_id: { value: 'C4A' },
    data: { set: [{ map: tiktok }] },
  }),
}

// What is not a property of walkerOS's event is kept beside the event's own data.
const told = (hit) => ({
  name: 'order complete',
  timestamp: Date.parse(hit.time),
  user: hit.user,
  consent: Object.fromEntries(Object.entries(hit.consent).map(([name, state]) => [name, state === 'granted'])),
  data: { ...hit.props, ...hit.page, event_id: hit.id, client_id: hit.ids.ga_client_id, fbp: hit.ids.fbp },
  nested: hit.items.map((data) => ({ entity: 'product', data })),
})

startFlow({ destinations }).then(({ elb }) => {
  const handle = async (hit) => {
    const { ok, done, failed } = await elb(told(hit))
    if (!ok || Object.keys(done || {}).length !== 3) throw new Error(JSON.stringify({ done, failed }))
  }
  return port === 'loop' ? loop(Number(sink), handle) : serve(Number(port), handle)
})
