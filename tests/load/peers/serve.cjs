// What stands around a peer. `serve` is a plain Node server: each POST holds one event of tests/load/driver.py as JSON. It
// answers 204 when `handle` has had an answer for every request that the event led to, else 500 with the reason: the
// driver takes no answer but 2xx. `loop` gives the events of standard input, one a line, to `handle` one after the other,
// while `sender` stands in for the network and counts; it prints the CPU microseconds of one event, over the last
// `counted`, and fails unless each event led to three requests.
const http = require('http')

exports.sender = { requests: 0 }

exports.loop = async (counted, handle) => {
  const hits = require('fs').readFileSync(0, 'utf8').trim().split('\n').map(JSON.parse)
  let before
  for (const [at, hit] of hits.entries()) {
    if (at === hits.length - counted) before = process.cpuUsage()
    await handle(hit)
  }
  const { user, system } = process.cpuUsage(before)
  if (exports.sender.requests !== hits.length * 3) throw new Error(`${hits.length} events, ${exports.sender.requests} requests`)
  console.log((user + system) / counted)
}

exports.serve = (port, handle) =>
  http
    .createServer((request, response) => {
      const parts = []
      request.on('data', (part) => parts.push(part))
      request.on('end', () =>
        Promise.resolve()
          .then(() => handle(JSON.parse(Buffer.concat(parts).toString())))
          .then(
            () => response.writeHead(204).end(),
            (error) => response.writeHead(500).end(String((error && error.stack) || error)),
          ),
      )
    })
    .listen(port, '127.0.0.1')
