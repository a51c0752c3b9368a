// A web service with a PostgreSQL pool and a MariaDB pool. Every statement carries the id of its request.
const express = require(process.env.EXPRESS || 'express');
const mysql = require('mysql2/promise');
const { Pool } = require('pg');

const connections = Number(process.env.POOL_SIZE || 20);
const pool = new Pool({ max: connections, idleTimeoutMillis: 0 });
const mariadb = mysql.createPool({
  host: '127.0.0.1',
  port: Number(process.env.MARIADB_PORT || 3306),
  user: 'root',
  database: 'test',
  connectionLimit: connections,
});

const app = express();

function requestId(request) {
  const id = String(request.query.id);
  if (!/^\d+$/.test(id)) throw new Error('id must be a number');
  return id;
}

app.get('/hello', (request, response) => response.send('hello\n'));

app.get('/status/:code', (request, response) => response.status(Number(request.params.code)).send('as you like\n'));

app.get('/checkout', async (request, response, next) => {
  try {
    const id = requestId(request);
    const first = await pool.query(`SELECT 'checkout-${id}-a' AS marker`);
    const second = await pool.query(`SELECT 'checkout-${id}-b' AS marker, $1::int AS number`, [id]);
    response.json({ markers: [first.rows[0].marker, second.rows[0].marker] });
  } catch (error) {
    next(error);
  }
});

app.get('/mariadb/plain', async (request, response, next) => {
  try {
    const [rows] = await mariadb.query(`SELECT 'mariadb-plain-${requestId(request)}' AS marker`);
    response.json(rows);
  } catch (error) {
    next(error);
  }
});

app.get('/mariadb/prepared', async (request, response, next) => {
  try {
    const id = requestId(request);
    const [rows] = await mariadb.execute(`SELECT 'mariadb-prepared-${id}' AS marker, ? AS number`, [id]);
    response.json(rows);
  } catch (error) {
    next(error);
  }
});

// The same text each time: prepared once a connection, executed often.
app.get('/mariadb/repeated', async (request, response, next) => {
  try {
    const [rows] = await mariadb.execute(`SELECT 'mariadb-repeated' AS marker, ? AS number`, [requestId(request)]);
    response.json(rows);
  } catch (error) {
    next(error);
  }
});

app.listen(Number(process.env.PORT), '127.0.0.1');
