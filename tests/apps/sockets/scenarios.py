"""HTTP/1.1 over plain sockets, by precise system calls. Usage: scenarios.py NAME FAMILY..."""

import array
import ctypes
import os
import select
import signal
import socket
import struct
import sys
import tempfile

from wire import ask, answer, between, connect, ended, exactly, fork, join, listener, recv, request, response, until

MEGABYTE = 1 << 20
IOV_LIMIT = 24


# Reads. Each takes what has come into several small buffers where the call can.


def by_read(connection):
    return os.read(connection.fileno(), 4096)


def by_readv(connection):
    buffers = [bytearray(3) for _ in range(20)]
    length = os.readv(connection.fileno(), buffers)
    return b"".join(buffers)[:length]


def by_recv_into(connection):
    buffer = bytearray(4096)
    return bytes(buffer[: connection.recv_into(buffer)])


def by_recvmsg(connection):
    return connection.recvmsg(4096)[0]


def by_recvmsg_into(connection):
    buffers = [bytearray(1), bytearray(7), bytearray(5), bytearray(4096)]
    length = connection.recvmsg_into(buffers)[0]
    return b"".join(buffers)[:length]


def byte_by_byte(connection):
    return connection.recv(1)


def peeked(connection):
    looked = connection.recv(4096, socket.MSG_PEEK)
    looked = connection.recvmsg(4096, 0, socket.MSG_PEEK)[0]
    taken = connection.recv(len(looked))
    assert taken == looked, (taken, looked)
    return taken


def without_waiting(connection):
    connection.setblocking(False)
    while True:
        try:
            return connection.recv(4096)
        except BlockingIOError:
            select.select([connection], [], [])


READS = (by_read, by_readv, recv, by_recv_into, by_recvmsg, by_recvmsg_into, byte_by_byte, peeked, without_waiting)


def reads(family):
    def server(connection):
        for read in READS:
            answer(connection, 1, read)

    def client(connection):
        for read in READS:
            ask(connection, f"/{read.__name__}", read)

    between(server, client, family)


# Writes.


def by_write(connection, data):
    assert os.write(connection.fileno(), data) == len(data)


def by_writev(connection, data):
    thirds = [data[:9], b"", data[9:20], data[20:]]
    assert os.writev(connection.fileno(), thirds) == len(data)


def by_sendmsg(connection, data):
    assert connection.sendmsg([data[:1], data[1:2], data[2:]]) == len(data)


def bytes_in_buffers(connection, data):
    """A buffer for each byte, as many buffers a call as are looked at."""
    for start in range(0, len(data), IOV_LIMIT):
        piece = data[start : start + IOV_LIMIT]
        assert os.writev(connection.fileno(), [piece[n : n + 1] for n in range(len(piece))]) == len(piece)


def bytes_in_calls(connection, data):
    for n in range(len(data)):
        connection.send(data[n : n + 1])


WRITES = (by_write, by_writev, by_sendmsg, bytes_in_buffers, bytes_in_calls)


def writes(family):
    def server(connection):
        for write in WRITES:
            answer(connection, 1, recv, write)

    def client(connection):
        for write in WRITES:
            ask(connection, f"/{write.__name__}", recv, write)

    between(server, client, family)


def split_anywhere(family):
    """A request cut in two buffers at each of its bytes, and in two calls at each of its bytes."""
    # Both paths are equally long: the last cut leaves one byte, never an empty second call after the answer.
    length = len(request("/vector?cut=00"))
    assert length == len(request("/called?cut=00"))

    def server(connection):
        answer(connection, 2 * (length - 1))

    def client(connection):
        for cut in range(1, length):
            ask(connection, f"/vector?cut={cut:02}", recv, lambda c, data: os.writev(c.fileno(), [data[:cut], data[cut:]]))
        for cut in range(1, length):
            ask(connection, f"/called?cut={cut:02}", recv, lambda c, data: (c.send(data[:cut]), c.send(data[cut:])))

    between(server, client, family)


class MessageHeader(ctypes.Structure):
    """struct msghdr"""

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("buffers", ctypes.c_void_p),
        ("buffer_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = [("header", MessageHeader), ("length", ctypes.c_uint)]


class Buffer(ctypes.Structure):
    """struct iovec"""

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def several_messages(family):
    """sendmmsg: one request in two messages of one call."""

    def write(connection, data):
        texts = [ctypes.create_string_buffer(part, len(part)) for part in (data[:12], data[12:])]
        buffers = [Buffer(ctypes.addressof(text), len(text)) for text in texts]
        headers = [MessageHeader(buffers=ctypes.addressof(buffer), buffer_count=1) for buffer in buffers]
        messages = (Message * 2)(*[Message(header) for header in headers])
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.sendmmsg(connection.fileno(), messages, 2, 0) == 2, ctypes.get_errno()

    between(answer, lambda connection: ask(connection, "/sendmmsg", recv, write), family)


def too_many_buffers(family):
    """One call with more buffers than are looked at, then an ordinary request on the same connection."""

    def write(connection, data):
        assert os.writev(connection.fileno(), [data[n : n + 1] for n in range(len(data))]) == len(data)

    def client(connection):
        ask(connection, "/too-many-buffers", recv, write)
        ask(connection, "/after")

    between(lambda connection: answer(connection, 2), client, family)


# Bodies and ends.


def sendfile(family):
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * MEGABYTE)
        file.flush()

        def server(connection):
            for _ in range(2):
                until(connection)
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {MEGABYTE}\r\n\r\n".encode())
                sent = 0
                while sent < MEGABYTE:
                    sent += os.sendfile(connection.fileno(), file.fileno(), sent, MEGABYTE - sent)

        def client(connection):
            for n in range(2):
                connection.sendall(request(f"/sendfile?n={n}"))
                head = connection.recv(4096, socket.MSG_PEEK).index(b"\r\n\r\n") + 4
                exactly(connection, head + MEGABYTE)

        between(server, client, family)


def large_bodies(family):
    """100 MB there and 100 MB back, then a small request on the same connection."""
    megabyte, count = b"x" * MEGABYTE, 100

    def server(connection):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        exactly(connection, count * MEGABYTE)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {count * MEGABYTE}\r\n\r\n".encode())
        for _ in range(count):
            connection.sendall(megabyte)
        answer(connection)

    def client(connection):
        length = count * MEGABYTE
        connection.sendall(f"POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode())
        for _ in range(count):
            connection.sendall(megabyte)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        exactly(connection, length)
        ask(connection, "/small")

    between(server, client, family)


def half_close(family):
    def server(connection):
        ended(connection)
        connection.sendall(response())

    def client(connection):
        connection.sendall(request("/half-close"))
        connection.shutdown(socket.SHUT_WR)
        ended(connection)

    between(server, client, family)


def ended_by_close(family):
    def server(connection):
        until(connection)
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nas long")
        connection.sendall(b" as the connection")

    def client(connection):
        connection.sendall(request("/close", version="1.0"))
        ended(connection)

    between(server, client, family)


def pipelined(family):
    def server(connection):
        seen = b""
        while seen.count(b"\r\n\r\n") < 20:
            seen += connection.recv(4096)
        connection.sendall(response() * 20)

    def client(connection):
        connection.sendall(b"".join(request(f"/pipelined?n={n}") for n in range(20)))
        exactly(connection, 20 * len(response()))

    between(server, client, family)


def aborted(family):
    """The client goes once its request was read, before the answer comes."""
    reading, writing = os.pipe()

    def server(connection):
        until(connection)
        os.write(writing, b".")
        ended(connection)

    def client(connection):
        connection.sendall(request("/aborted"))
        os.read(reading, 1)

    between(server, client, family)


def connection_reset(family):
    """The server resets the connection instead of answering."""

    def server(connection):
        until(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def client(connection):
        connection.sendall(request("/reset"))
        try:
            connection.recv(4096)
        except ConnectionResetError:
            return
        raise AssertionError("no reset")

    between(server, client, family)


# Descriptors.


def duplicates(family):
    """Both ends go on by duplicates of descriptors that are closed."""

    def server(connection):
        duplicate = connection.dup()
        until(connection)
        connection.close()
        duplicate.sendall(response())
        answer(duplicate)

    def client(connection):
        duplicate = connection.dup()
        connection.sendall(request("/duplicate"))
        connection.close()
        until(duplicate, b"done")
        ask(duplicate, "/duplicate/again")

    between(server, client, family)


def handed_to_a_child(family):
    """The process that accepts leaves the connection to a child, which reads and answers."""

    def server(connection):
        child = fork(lambda: answer(connection, 2))
        connection.close()
        join(child)

    def client(connection):
        ask(connection, "/child")
        ask(connection, "/child/again")

    between(server, client, family)


def passed_on(family):
    """The process that accepts passes the descriptor by SCM_RIGHTS to one that is not its child, which answers."""
    giving, taking = socket.socketpair()

    def worker():
        _, [(_, _, data)], _, _ = taking.recvmsg(1, socket.CMSG_SPACE(4))
        answer(socket.socket(fileno=array.array("i", data)[0]), 2)
        taking.send(b".")

    def server(connection):
        giving.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))])
        connection.close()
        giving.recv(1)

    def client(connection):
        ask(connection, "/passed")
        ask(connection, "/passed/again")

    child = fork(worker)
    between(server, client, family)
    join(child)


def reused_numbers(family):
    """The same descriptor number is a connection, a file, a pipe and a connection again."""
    listening = listener(family)

    def server():
        for _ in range(20):
            connection, _ = listening.accept()
            answer(connection)
            connection.close()

    def client():
        numbers = set()
        for n in range(20):
            connection = connect(listening)
            numbers.add(connection.fileno())
            ask(connection, f"/reused?n={n}")
            connection.close()
            with tempfile.TemporaryFile(buffering=0) as file:
                numbers.add(file.fileno())
                file.write(request("/file"))
            reading, writing = os.pipe()
            numbers.add(reading)
            os.write(writing, request("/pipe"))
            os.read(reading, 4096)
            os.close(reading)
            os.close(writing)
        assert len(numbers) == 1, numbers

    join(fork(server), fork(client))


def older_than_the_agent(family, blocked=False):
    """Two connections, one of them used already; SIGUSR1 says that the agent is ready. The server waits for its next
    request by `select`, or blocked in the very call that will read it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    listening = listener(family)
    used, unused = [(connect(listening), listening.accept()[0]) for _ in range(2)]

    def server():
        used[0].close()
        unused[0].close()
        answer(used[1])
        if not blocked:
            select.select([used[1]], [], [])
        answer(used[1], 2)
        answer(unused[1], 2)

    def client():
        used[1].close()
        unused[1].close()
        ask(used[0], "/before")
        print("open", flush=True)
        signal.sigwait([signal.SIGUSR1])
        for n in range(2):
            ask(used[0], f"/used?n={n}")
        for n in range(2):
            ask(unused[0], f"/unused?n={n}")

    children = fork(server), fork(client)
    signal.sigwait([signal.SIGUSR1])
    os.kill(children[1], signal.SIGUSR1)
    join(*children)


def blocked_before_the_agent(family):
    older_than_the_agent(family, blocked=True)


if __name__ == "__main__":
    for chosen in sys.argv[2:]:
        globals()[sys.argv[1]](chosen)
