// Takes orders: reserves the goods, writes the order down, asks what else the customer might like.
const http = require('node:http');
const express = require('express');
const { Pool } = require('pg');

const pool = new Pool({ max: 8 });
const agent = new http.Agent({ keepAlive: true });

/** One JSON request to another service on this machine. */
function call(method, port, path) {
  return new Promise((resolve, reject) => {
    const request = http.request({ agent, method, host: '127.0.0.1', port, path }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (part) => (body += part));
      response.on('end', () => {
        if (response.statusCode !== 200) reject(new Error(`${path} answered ${response.statusCode}`));
        else resolve(JSON.parse(body));
      });
    });
    request.on('error', reject);
    request.end();
  });
}

const app = express();

app.post('/checkout', async (request, response, next) => {
  try {
    const customer = Number(request.query.customer);
    const cart = await pool.query('SELECT product, quantity FROM cart WHERE customer = $1', [customer]);
    const products = cart.rows.map((row) => row.product).join(',');
    const reserved = await call('POST', process.env.INVENTORY_PORT, `/reserve?products=${products}`);
    const order = await pool.query(
      'INSERT INTO orders (customer, total) VALUES ($1, $2) RETURNING id',
      [customer, reserved.total],
    );
    const others = await call('GET', process.env.RECOMMENDATIONS_PORT, `/recommendations?customer=${customer}`);
    response.json({ order: order.rows[0].id, total: reserved.total, recommended: others.products });
  } catch (error) {
    next(error);
  }
});

app.listen(Number(process.env.PORT), '127.0.0.1');
