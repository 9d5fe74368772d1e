"""A client that does nothing by itself: what is sent is what the test wrote."""

import json
import select
import socket
import time

HOST = b"Host: localhost\r\n"


def get(path, more=b""):
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + more + b"\r\n"


def post(path, body, more=b""):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + length + more + b"\r\n" + body


class Reply:
    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers.setdefault(name.lower(), value.strip())
        self.body = body

    def json(self):
        return json.loads(self.body)


class Wire:
    def __init__(self, address, receive=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(5)
        self.socket.connect(address)
        self.buffer = b""
        self.how = None  # of the end: "end", "reset"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, data):
        """Sends; a peer that has closed is for the reader to see."""
        try:
            self.socket.sendall(data)
        except OSError:
            pass
        return self

    def more(self, seconds):
        """Some more bytes into the buffer; False at the end or when none came in time."""
        if self.how or not select.select([self.socket], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            self.how = "reset"
            return False
        if not data:
            self.how = "end"
            return False
        self.buffer += data
        return True

    def until(self, done, seconds):
        deadline = time.monotonic() + seconds
        while not done(self.buffer) and self.more(deadline - time.monotonic()):
            pass
        return done(self.buffer)

    def take(self, n):
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def chunked(self, seconds):
        body = b""
        while True:
            assert self.until(lambda b: b"\r\n" in b, seconds), "the stream stopped"
            size = int(self.take(self.buffer.index(b"\r\n") + 2), 16)
            assert self.until(lambda b, need=size + 2: len(b) >= need, seconds), "a chunk is cut"
            body += self.take(size)
            assert self.take(2) == b"\r\n"
            if size == 0:
                return body

    def reply(self, seconds=5, head=False):
        """The next reply; None when the peer closed or said nothing. head: it answers a HEAD."""
        if not self.until(lambda b: b"\r\n\r\n" in b, seconds):
            return None
        raw = self.take(self.buffer.index(b"\r\n\r\n") + 4)[:-4]
        reply = Reply(raw, b"")
        if head or reply.status in (100, 204, 304):
            return reply
        if reply.headers.get("transfer-encoding") == "chunked":
            reply.body = self.chunked(seconds)
        elif "content-length" in reply.headers:
            length = int(reply.headers["content-length"])
            assert self.until(lambda b: len(b) >= length, seconds), "the body is cut"
            reply.body = self.take(length)
        else:
            self.until(lambda b: False, seconds)
            reply.body = self.take(len(self.buffer))
        return reply

    def ends(self, seconds=3):
        """True when the peer closes within the time and sends nothing more before."""
        self.until(lambda b: bool(b), seconds)
        return self.how == "end" and not self.buffer
