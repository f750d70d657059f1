// A plain Node server in front of a peer: each POST holds one event of tests/load/driver.py as JSON. It answers 204 when `handle`
// has had an answer for every request that the event led to, else 500 with the reason: the driver takes no answer but 2xx.
const http = require('http')

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
