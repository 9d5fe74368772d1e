"""TLS with a certificate authority of our own, made by the openssl command."""

import ssl
import subprocess

import pytest

from rig import Server, eventually, remote, running


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def make(place, name, names, ca=None, days="2"):
    key, cert = place / f"{name}.key", place / f"{name}.pem"
    openssl("req", "-x509" if not ca else "-new", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key), "-out",
            str(cert if not ca else place / f"{name}.csr"), "-subj", f"/CN={name}",
            *(["-days", days] if not ca else []))
    if ca:
        (place / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        openssl("x509", "-req", "-in", str(place / f"{name}.csr"), "-CA", str(place / f"{ca}.pem"),
                "-CAkey", str(place / f"{ca}.key"), "-CAcreateserial", "-days", days, "-out",
                str(cert), "-extfile", str(place / f"{name}.ext"))
    return key, cert


@pytest.fixture(scope="module")
def keys(place):
    make(place, "ca", "")
    return {
        "good": make(place, "good", "DNS:localhost,IP:127.0.0.1", "ca"),
        "other": make(place, "other", "DNS:other.example", "ca"),
    }


def serve(keys, name, **limits):
    key, cert = keys[name]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    for field, value in limits.items():
        setattr(tls, field, value)
    names = []
    tls.sni_callback = lambda _, sni, __: names.append(sni)
    server = Server(tls=tls)
    server.names = names
    return server


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_trusted_server_is_asked(place, keys, host):
    server = serve(keys, "good")
    url = server.url.replace("127.0.0.1", host)
    backend = remote(url, models=["m"], ca_file=str(place / "ca.pem"), api_key="sk-x")
    with running(place, [backend]) as gateway:
        for _ in range(3):
            status, _, body = gateway.chat("m")
            assert status == 200, body
        assert gateway.chat("m", stream=True)[2].endswith("data: [DONE]\n\n")
        big = gateway.chat("m", "long " * 100000)
        assert big[0] == 200
    assert server.connections == 1  # it is kept
    assert server.names == ["localhost" if host == "localhost" else None]
    assert len(server.requests[-1]["body"]["messages"][0]["content"]) == 500000
    server.close()


@pytest.mark.parametrize("name,uses_ca,words", [
    ("good", False, "not trusted"),
    ("other", True, "not trusted"),
])
def test_a_server_that_is_not_trusted_gets_no_key(place, keys, name, uses_ca, words):
    server = serve(keys, name)
    options = {"ca_file": str(place / "ca.pem")} if uses_ca else {}
    backend = remote(server.url, models=["m"], api_key="sk-x", **options)
    with running(place, [backend]) as gateway:
        status, _, body = gateway.chat("m")
        assert status == 502 and words in body, body
    assert server.requests == []
    server.close()


def test_verify_false_is_said_aloud(place, keys):
    server = serve(keys, "other")
    with running(place, [remote(server.url, models=["m"], verify=False)]) as gateway:
        assert gateway.chat("m")[0] == 200
        assert "upstream_not_verified" in gateway.log()
    server.close()


def test_a_server_without_tls_and_one_with_an_older_tls(place, keys):
    plain = Server()
    with running(place, [remote(plain.url.replace("http", "https"), models=["m"],
                                connect_ms=200)]) as gateway:
        status, _, body = gateway.chat("m")
        assert status == 502 and "no end of the TLS handshake in time" in body
    plain.close()
    talks = Server()
    talks.serve = lambda conn: (conn.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"), conn.close())
    with running(place, [remote(talks.url.replace("http", "https"), models=["m"])]) as gateway:
        status, _, body = gateway.chat("m")
        assert status == 502 and "TLS failed" in body, body
    talks.close()
    server = serve(keys, "good", maximum_version=ssl.TLSVersion.TLSv1_2)
    backend = remote(server.url, models=["m"], ca_file=str(place / "ca.pem"))
    with running(place, [backend]) as gateway:
        assert gateway.chat("m")[0] == 200
    server.close()


def test_a_key_over_the_network_without_tls_is_warned_of(place):
    backend = remote("http://gpu.example.invalid/v1", models=["m"], api_key="sk-x")
    with running(place, [backend]) as gateway:
        assert eventually(lambda: "upstream_key_in_clear" in gateway.log(), 5)
