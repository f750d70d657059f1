// A shop's server that uses Segment's Node library: `node segment_node.cjs BASE KEY STORY` (STORY: tests/clients/story.py as JSON).
const { Analytics } = require('@segment/analytics-node')

const [base, key, told] = process.argv.slice(2)
const { CONTEXT, TRAITS, ORDER, PRODUCTS } = JSON.parse(told)
const failures = []
const analytics = new Analytics({ writeKey: key, host: base, maxRetries: 2, flushAt: 3 })
analytics.on('error', (error) => failures.push(String(error.reason || error)))

const who = { userId: 'u-1', context: CONTEXT }
analytics.identify({ ...who, messageId: 'm-identify', traits: TRAITS })
analytics.group({ ...who, messageId: 'm-group', groupId: 'g-1', traits: { plan: 'gold' } })
analytics.alias({ ...who, messageId: 'm-alias', previousId: 'old-1' })
analytics.page({ ...who, messageId: 'm-page', category: 'Shop', name: 'Cup', properties: { url: CONTEXT.page.url } })
analytics.screen({ ...who, messageId: 'm-screen', name: 'Home' })
const context = { ...CONTEXT, traits: TRAITS }
analytics.track({ ...who, context, messageId: 'm-order', event: 'Order Completed', properties: { ...ORDER, products: PRODUCTS } })
analytics.closeAndFlush().then(() => console.log(JSON.stringify(failures)))
