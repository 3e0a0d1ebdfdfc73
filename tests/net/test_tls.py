"""What a TlsConfig accepts, and what is said of files that are not usable."""

import logging
import os

import anyio
import pytest

from certificates import Authority
from orbit_net.client import Channel
from orbit_net.errors import ConfigurationError
from orbit_net.net import Credentials, TlsConfig, tls_for
from orbit_net.net.tlscontext import signature
from orbit_net.server import Server
from settle import until


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"private_key": "x.key"}, "without a certificate"),
        ({"password": "secret"}, "without a certificate"),
        ({"client_verification": "maybe"}, "'none', 'optional', 'required'"),
        ({"minimum_version": "1.1"}, "'1.2', '1.3'"),
        ({"server_name": ""}, "host name"),
        ({"server_name": ".example.org"}, "host name"),
        ({"server_name": "a b"}, "host name"),
        ({"server_name": "bücher.example"}, "ASCII"),
        ({"poll_interval": 0}, "above 0 seconds"),
        ({"poll_interval": -1}, "above 0 seconds"),
    ],
)
def test_values_that_cannot_be_meant(values, words):
    """ConfigurationError names the value and what is allowed."""
    with pytest.raises(ConfigurationError, match=words):
        TlsConfig(**values)


def test_secrets_are_not_shown(tmp_path):
    """The password stays out of the text of a config."""
    assert "hunter2" not in repr(TlsConfig(certificate=tmp_path / "x", password="hunter2"))


def test_targets_and_tls():
    """https:// brings the default config, http:// forbids one, other forms take what is given."""
    config = TlsConfig(minimum_version="1.3")
    assert tls_for("https://node1:1", None) == TlsConfig()
    assert tls_for("https://node1:1", config) is config
    assert tls_for("node1:1", config) is config
    assert tls_for("unix:/a", config) is config
    assert tls_for("node1:1", None) is None
    assert tls_for("http://node1:1", None) is None
    with pytest.raises(ConfigurationError, match=r"'http://node1:1' asks for plain text"):
        Channel("http://node1:1", tls=config)


def test_repr_and_authority():
    """The server name stands in :authority, unless the settings say otherwise."""
    channel = Channel("127.0.0.1:1", tls=TlsConfig(server_name="node1.example"))
    assert channel._authority == b"node1.example"
    assert Channel("https://node1:1")._authority == b"node1:1"


@pytest.fixture
def broken(site, tmp_path):
    """Files with something wrong, by name."""
    other = site.authority.issue()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "cut").write_bytes(site.server.chain[:-100])
    (tmp_path / "cut.key").write_bytes(site.server.key_pem()[:-80] + b"\n-----END PRIVATE KEY-----\n")
    (tmp_path / "other.key").write_bytes(other.key_pem())
    other.write(tmp_path, "locked", password="right")
    (tmp_path / "bad.ca").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return tmp_path


BROKEN = [
    ({}, "needs a certificate"),
    ({"certificate": "none"}, "the certificate '.*none' cannot be read: No such file"),
    ({"certificate": ""}, "the certificate '.*' cannot be read: Is a directory"),
    ({"certificate": "empty"}, "the certificate '.*empty' holds no PEM certificate"),
    ({"certificate": "other.key"}, "the certificate '.*other.key' holds no PEM certificate"),
    ({"certificate": "cut", "private_key": "other.key"}, "the certificate '.*cut' or its key '.*other.key' is broken"),
    ({"certificate": "server.crt"}, "the private key '.*server.crt' holds no PEM key"),
    ({"certificate": "server.crt", "private_key": "none"}, "the private key '.*none' cannot be read"),
    ({"certificate": "server.crt", "private_key": "cut.key"}, "server.crt' or its key '.*cut.key' is broken"),
    (
        {"certificate": "server.crt", "private_key": "other.key"},
        "the private key '.*other.key' does not belong to the certificate '.*server.crt'",
    ),
    ({"certificate": "locked.crt", "private_key": "locked.key"}, "'.*locked.key' is encrypted, and no password"),
    (
        {"certificate": "locked.crt", "private_key": "locked.key", "password": "wrong"},
        "its key '.*locked.key' is broken, or the password does not open the key",
    ),
    ({"client_verification": "required"}, "client_verification is 'required': it needs the ca"),
    ({"client_verification": "optional", "ca": "none"}, "the ca '.*none' cannot be read"),
    ({"client_verification": "optional", "ca": "empty"}, "the ca '.*empty' holds no PEM certificate"),
    ({"client_verification": "optional", "ca": "bad.ca"}, "the ca '.*bad.ca' is broken"),
    ({"client_verification": "optional", "ca": b"nothing"}, "the ca given as bytes holds no PEM certificate"),
]


@pytest.mark.parametrize(("files", "words"), BROKEN)
def test_files_that_are_not_usable(files, words, broken, site):
    """Making the server raises ConfigurationError that names the file and the fault, before any socket is opened."""
    site.server.write(broken, "server")
    values = {
        name: broken / value if name in ("certificate", "private_key", "ca") and isinstance(value, str) else value
        for name, value in files.items()
    }
    if "client_verification" in values:
        values |= {"certificate": broken / "server.crt", "private_key": broken / "server.key"}
    with pytest.raises(ConfigurationError, match=words):
        Server([], tls=TlsConfig(**values))


def test_a_channel_says_it_too(tmp_path):
    """The same holds for a channel, whose certificate is optional."""
    Channel("node1:1", tls=TlsConfig())
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Channel("node1:1", tls=TlsConfig(ca=tmp_path / "none"))


def test_an_encrypted_key_and_one_file(site, tmp_path):
    """The right password opens the key; certificate and key may stand in one file; a CA may have comments."""
    files = site.server.write(tmp_path, "locked", password="right")
    Credentials(TlsConfig(**files, password="right"), server=True)
    both = tmp_path / "both.pem"
    both.write_bytes(site.server.chain + site.server.key_pem())
    ca = "# autorité\n".encode() + site.authority.pem
    Credentials(TlsConfig(certificate=both, ca=ca, client_verification="required"), server=True)


def test_reload_keeps_what_works(site, tmp_path):
    """A reload that cannot be raises and changes nothing; the next one that can takes effect."""
    files = site.server.write(tmp_path)
    credentials = Credentials(TlsConfig(**files), server=True)
    first = credentials._context
    site.authority.issue().write(tmp_path, "other")
    os.replace(tmp_path / "other.crt", files["certificate"])
    with pytest.raises(ConfigurationError, match="does not belong"):
        credentials.reload()
    assert credentials._context is first
    os.replace(tmp_path / "other.key", files["private_key"])
    credentials.reload()
    assert credentials._context is not first


@pytest.mark.anyio
async def test_the_watch_keeps_what_works(site, tmp_path, caplog, monkeypatch):
    """The watch leaves a half-written pair out, says so once, and takes the pair when it is whole."""
    caplog.set_level(logging.INFO, "orbit_net.net")
    polls = []
    monkeypatch.setattr(
        "orbit_net.net.credentials.signature", lambda config: (polls.append(config), signature(config))[1]
    )
    files = site.server.write(tmp_path)
    credentials = Credentials(TlsConfig(**files, poll_interval=0.01), server=True)
    first = credentials._context
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(credentials.watch)
        pair = Authority().issue()
        files["private_key"].write_bytes(b"")
        await until(lambda: "holds no PEM key" in caplog.text)
        seen = len(polls)
        await until(lambda: len(polls) > seen + 3)
        assert caplog.text.count("holds no PEM key") == 1
        assert credentials._context is first
        files["private_key"].unlink()
        await until(lambda: "cannot be read" in caplog.text)
        pair.write(tmp_path)
        await until(lambda: credentials._context is not first)
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_nothing_to_watch(site):
    """Without files, or when told so, there is no watch."""
    await Credentials(TlsConfig(ca=site.authority.pem), server=False).watch()
    await Credentials(site.for_server(poll_interval=None), server=True).watch()
