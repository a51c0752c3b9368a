// An event loop that serves many requests at once: `/forward?id=N` asks DOWNSTREAM for two items, one after the other, over
// POOL_SIZE connections that all requests share.
const http = require('node:http');

const [host, port] = process.env.DOWNSTREAM.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: Number(process.env.POOL_SIZE) });

function item(id) {
  return new Promise((resolve, reject) => {
    const request = http.get({ host, port, agent, path: `/item?id=${id}` }, (response) => {
      response.resume();
      response.on('end', resolve);
    });
    request.on('error', reject);
  });
}

http
  .createServer(async (request, response) => {
    const id = request.url.split('=')[1];
    await item(`${id}-a`);
    await item(`${id}-b`);
    response.end('done\n');
  })
  .listen(Number(process.env.PORT), '127.0.0.1');
