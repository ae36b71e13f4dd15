"""Clients that are slow, leave, or want too much: they end, and the others are answered meanwhile."""

import contextlib
import itertools
import json

from support.service import PATIENCE_S, png, read_all, receive

RED = png("red")
HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


def test_a_head_that_never_ends_ends_the_connection(colors, start):
    service = start(colors, "--header-timeout", "0.5")
    silent, trickling = service.connect(b""), service.connect(b"POST /classify HTTP/1.1\r\n")
    answered = service.connect(HEAD % len(RED) + RED)  # then silence, or a further head that never ends
    assert receive(answered)[0] == 200
    with trickling, contextlib.suppress(ConnectionError):
        trickling.settimeout(0.05)
        for number in itertools.count():
            with contextlib.suppress(TimeoutError):
                trickling.sendall(b"x-%d: y\r\n" % number)
                if trickling.recv(1) == b"":
                    break
            if number == 2:
                assert service.ask("/classify", RED)[0] == 200, "somebody else is answered"
            assert number < 1000, "the connection outlived its time"
    assert read_all(silent) == b""
    with answered, contextlib.suppress(ConnectionError):
        answered.sendall(b"GET /v2 HT")
        assert answered.recv(1 << 16) == b""


def test_a_body_that_does_not_come_is_408(colors, start):
    service = start(colors, "--body-timeout", "0.5")
    error = {"error": "5 bytes came in 0.5 s, the limit, and not the end"}
    slow = service.connect(HEAD % 100 + b"x" * 5)
    assert service.ask("/classify", RED)[0] == 200, "somebody else is answered"
    status, _, content = receive(slow)
    assert (status, json.loads(content)) == (408, error)
    slow.close()
    assert service.metric("tl_held_bytes") == 0


def test_a_body_that_is_cut_is_nobody_elses_trouble(colors, start):
    service = start(colors)
    service.connect(HEAD % 100 + b"x" * 5).close()
    assert service.logged("request", status=499)["error"] == "the client has left"
    assert service.ask("/classify", RED)[0] == 200
    assert service.metric("tl_held_bytes") == 0


def test_a_body_that_is_too_large_is_refused_before_it_is_read(colors, start):
    service = start(colors, "--max-request-size", "1000")
    declared = service.connect(HEAD % 1001)  # and nothing more
    status, _, content = receive(declared)
    assert (status, json.loads(content)) == (413, {"error": "1001 bytes, the limit is 1000"})
    declared.close()
    chunked = b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    growing = service.connect(chunked + b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n")  # and no end
    status, _, content = receive(growing)
    assert (status, json.loads(content)) == (413, {"error": "more than 1000 bytes, the limit"})
    growing.close()
    assert service.ask("/classify", RED)[0] == 200


def test_bodies_that_are_too_many_together_are_503(colors, start):
    service = start(colors, "--max-request-size", "1000", "--max-held-size", "1000")
    held = service.connect(HEAD % 900 + b"x" * 600)
    service.wait_for("tl_held_bytes", 600)
    status, headers, content = service.exchange("/classify", b"y" * 600, {})
    assert (status, headers["Retry-After"]) == (503, "1")
    assert content == b'{"error":"too many large requests at once, try again later"}'
    held.sendall(b"x" * 300)
    assert receive(held)[0] == 422
    held.close()
    assert service.ask("/classify", RED)[0] == 200


def test_connections_that_are_too_many_are_503_and_the_others_go_on(colors, start):
    service = start(colors, "--max-connections", "3", "--header-timeout", "3600")
    answered = service.connect(HEAD % len(RED) + RED)
    assert receive(answered)[0] == 200
    idle = [service.connect(b"") for _ in range(2)]
    answer = read_all(service.connect(b""))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b'\r\n\r\n{"error": "too many connections"}')
    assert b"\r\nRetry-After: 1\r\n" in answer
    answered.sendall(HEAD % len(RED) + RED)
    assert receive(answered)[0] == 200
    for connection in (answered, *idle):
        connection.close()


def test_a_client_that_goes_on_asking_and_reads_nothing_is_left(colors, start):
    service = start(colors, "--body-timeout", "0.5")
    asking = service.connect(b"")
    with asking, contextlib.suppress(ConnectionError):
        asking.settimeout(PATIENCE_S)
        while True:  # until nothing more fits, and then until the connection ends
            asking.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    assert service.ask("/classify", RED)[0] == 200
