# A web service on Rack. Every statement and call carries the id of its request.
require 'connection_pool'
require 'net/http'
require 'pg'

# libpq reads PGHOST, PGPORT, PGUSER and PGDATABASE.
DATABASE = ConnectionPool.new(size: Integer(ENV.fetch('POOL_SIZE', '20'))) { PG.connect }
DOWNSTREAM = ENV.key?('DOWNSTREAM') ? URI(ENV['DOWNSTREAM']) : nil

# A statement that takes 0 to 4 ms, depending on the id, so that requests overtake each other.
def query(name, id, step)
  seconds = id.to_i * 7919 % 5 / 1000.0
  statement = format("SELECT '%s-%s-%s', pg_sleep(%.3f)", name, id, step, seconds)
  "#{DATABASE.with { |connection| connection.exec(statement) }.getvalue(0, 0)}\n"
end

# Each thread keeps a connection of its own.
def item(id)
  return '' unless DOWNSTREAM

  client = Thread.current[:client] ||= Net::HTTP.start(DOWNSTREAM.host, DOWNSTREAM.port)
  response = client.get("/item?id=#{id}")
  response.value # raises unless it is 2xx
  response.body
end

def answer(status, text)
  [status, { 'content-type' => 'text/plain', 'content-length' => text.bytesize.to_s }, [text]]
end

run(lambda do |env|
  id = env['QUERY_STRING'][/\Aid=(\d{1,12})\z/, 1]
  case env['PATH_INFO']
  when '/hello' then answer(200, "hello\n")
  when '/checkout'
    id ? answer(200, query('checkout', id, 'a') + item(id) + query('checkout', id, 'b')) : answer(400, "id?\n")
  else answer(404, "not here\n")
  end
end)
