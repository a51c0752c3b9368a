"""HTTP/1.1 between the two ends of connections that one thread holds, one system call a message, each of them counted.

Usage: counted.py tcp|pairs CONNECTIONS [UNANSWERED]. Says `open`, then on each line of standard input, a number of
exchanges, makes them, one connection after the other, and says how many calls have moved bytes since the start. The first
exchange of the first UNANSWERED connections is left without an answer until the second.

Half of the targets are not found, and say so: /200/N is answered by 200, /404/N by 404.
"""

import socket
import sys

from wire import connect, listener, request, response

calls = 0


def send(connection, data):
    global calls
    assert connection.send(data) == len(data)
    calls += 1


def receive(connection, length):
    global calls
    assert len(connection.recv(4096)) == length
    calls += 1


def pass_on(source, target, data):
    send(source, data)
    receive(target, len(data))


def connections(kind, count):
    if kind == "pairs":
        return [socket.socketpair(socket.AF_UNIX) for _ in range(count)]
    listening = listener("ipv4")
    return [(connect(listening), listening.accept()[0]) for _ in range(count)]


def main():
    pairs = connections(sys.argv[1], int(sys.argv[2]))
    unanswered = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    print("open", flush=True)
    made = 0
    for line in sys.stdin:
        for made in range(made, made + int(line)):
            client, server = pairs[made % len(pairs)]
            if len(pairs) <= made < len(pairs) + unanswered:
                pass_on(server, client, response())
            status = ("200 OK", "404 Not Found")[made % 2]
            pass_on(client, server, request(f"/{status[:3]}/{made}"))
            if made >= unanswered:
                pass_on(server, client, response(status=status))
        made += 1
        print(f"calls {calls}", flush=True)


main()
