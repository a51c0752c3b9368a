-- A pause of 10 ms between the requests of a connection.
function delay()
  return 10
end
