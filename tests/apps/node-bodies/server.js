// Answers /CODE with that status once it has read the request's body, without a Content-Length: in chunks where a body may be.
const http = require('node:http');

const server = http.createServer((request, response) => {
  let length = 0;
  request.on('data', (data) => (length += data.length));
  request.on('end', () => {
    response.statusCode = Number(request.url.split(/[/?]/)[1]);
    response.write('read: ');
    response.end(`${length} bytes\n`);
  });
});
server.listen(Number(process.env.PORT), '127.0.0.1');
