// A web service whose every request runs two statements and calls another service: one after the other (/checkout), or
// all at once (/fanout). DATABASE is postgres or mariadb, CLIENT is fetch or axios.
const express = require('express');

const connections = Number(process.env.POOL_SIZE || 20);
const downstream = process.env.DOWNSTREAM;

// Each id has its own delay in seconds, so that requests overtake each other. The factor is a prime.
const delay = (id) => ((id * 7919) % 5) / 1000;

function postgres() {
  const { Pool } = require('pg');
  const pool = new Pool({ max: connections, idleTimeoutMillis: 0 });
  return (marker, id) => pool.query(`SELECT '${marker}', pg_sleep(${delay(id)})`);
}

function mariadb() {
  const mysql = require('mysql2/promise');
  const pool = mysql.createPool({
    host: '127.0.0.1',
    port: Number(process.env.MARIADB_PORT),
    user: 'root',
    database: 'test',
    connectionLimit: connections,
  });
  return (marker, id) => pool.query(`SELECT '${marker}', SLEEP(${delay(id)})`);
}

function axios() {
  const { Agent } = require('node:http');
  const client = require('axios').create({ httpAgent: new Agent({ keepAlive: true }) });
  return async (url) => (await client.get(url)).data;
}

async function fetchText(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.text();
}

const query = process.env.DATABASE === 'mariadb' ? mariadb() : postgres();
const get = process.env.CLIENT === 'axios' ? axios() : fetchText;
const call = async (id) => downstream && get(`${downstream}/item?id=${id}`);

const app = express();

function handle(path, work) {
  app.get(path, async (request, response, next) => {
    try {
      if (!/^\d+$/.test(request.query.id)) return response.status(400).send('id must be a number\n');
      response.send((await work(Number(request.query.id))) || 'done\n');
    } catch (error) {
      next(error);
    }
  });
}

app.get('/hello', (request, response) => response.send('hello\n'));

// Answers what the other service answers.
const inOrder = (name) => async (id) => {
  await query(`${name}-${id}-a`, id);
  const item = await call(id);
  await query(`${name}-${id}-b`, id);
  return item;
};

handle('/checkout', inOrder('checkout'));

// For another service that has this one downstream.
handle('/item', inOrder('item'));

handle('/fanout', async (id) => {
  await Promise.all([query(`fanout-${id}-a`, id), query(`fanout-${id}-b`, id), call(id)]);
});

// Longer than a client that pauses waits.
app.listen(Number(process.env.PORT), '127.0.0.1').keepAliveTimeout = 60_000;
