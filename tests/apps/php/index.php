<?php
// The one entry point of a web service. Every statement and call carries the id of its request.

/** A statement that takes 0 to 4 ms, depending on the id, so that requests overtake each other. */
function query(PgSql\Connection $database, string $name, string $id, string $step): string
{
    $seconds = intval($id) * 7919 % 5 / 1000;
    $result = pg_query($database, sprintf("SELECT '%s-%s-%s', pg_sleep(%.3F)", $name, $id, $step, $seconds));
    return pg_fetch_result($result, 0, 0) . "\n";
}

function item(string $id): string
{
    $base = getenv('DOWNSTREAM');
    if ($base === false) {
        return '';
    }
    $call = curl_init("$base/item?id=$id");
    curl_setopt_array($call, [CURLOPT_RETURNTRANSFER => true, CURLOPT_FAILONERROR => true]);
    $body = curl_exec($call);
    if ($body === false) {
        throw new RuntimeException(curl_error($call));
    }
    return $body;
}

header('Content-Type: text/plain');
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$id = $_GET['id'] ?? '';
if ($path === '/hello') {
    echo "hello\n";
} elseif ($path === '/echo') {
    // The body as it came, or as many bytes as were asked for.
    echo file_get_contents('php://input') . str_repeat('x', intval($_GET['length'] ?? '0'));
} elseif ($path !== '/checkout') {
    http_response_code(404);
} elseif (!preg_match('/^\d{1,12}$/D', $id)) {
    http_response_code(400);
} else {
    // The connection stays open in its process; libpq reads PGHOST, PGPORT, PGUSER and PGDATABASE.
    $database = pg_pconnect('');
    echo query($database, 'checkout', $id, 'a') . item($id) . query($database, 'checkout', $id, 'b');
}
