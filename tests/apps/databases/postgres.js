// PostgreSQL by node-postgres. libpq's environment says where.
const assert = require('node:assert');
const { Client } = require('pg');

async function main() {
  const client = new Client();
  await client.connect();
  await client.query('CREATE TEMP TABLE items (id int PRIMARY KEY, text text)');
  await assert.rejects(client.query('SELECT * FROM missing'), { code: '42P01' });
  await assert.rejects(client.query('SELECT 1 / $1::int', [0]), { code: '22012' });
  await client.query("SELECT 'one'; SELECT 'two'");
  for (let number = 0; number < 3; number++) {
    await client.query({ name: 'named', text: "SELECT 'named', $1::int", values: [number] });
  }
  await client.query('BEGIN');
  await client.query('INSERT INTO items VALUES ($1, $2)', [1, 'x'.repeat(1_000_000)]);
  await client.query('ROLLBACK');
  const { rows } = await client.query("SELECT number, 'a row' FROM generate_series(1, 50000) AS number");
  assert.strictEqual(rows.length, 50_000);
  await client.end();
}

main();
