// Prepared statements by mysql2, which speaks the binary protocol. MARIADB_PORT says where.
const assert = require('node:assert');
const mysql = require('mysql2/promise');

async function main() {
  const connection = await mysql.createConnection({
    host: '127.0.0.1',
    port: Number(process.env.MARIADB_PORT),
    user: 'root',
    database: 'test',
  });
  await connection.query('CREATE TEMPORARY TABLE items (id int PRIMARY KEY, text text)');
  for (let number = 0; number < 3; number++) {
    await connection.execute('INSERT INTO items VALUES (?, ?)', [number, 'x'.repeat(10_000 * number)]);
  }
  await assert.rejects(connection.execute('INSERT INTO items VALUES (?, ?)', [1, 'twice']), { errno: 1062 });
  const [rows] = await connection.execute('SELECT id FROM items WHERE id > ?', [0]);
  assert.strictEqual(rows.length, 2);
  await assert.rejects(connection.execute('SELECT * FROM missing WHERE id = ?', [1]), { errno: 1146 });
  await assert.rejects(connection.query('SELECT FROM'), { errno: 1064 });
  await connection.query("SELECT 'plain'");
  await connection.end();
}

main();
