"""Targets and addresses (gRPC *naming*; RFC 3986 §3.2.2 for IPv6)."""

import pytest

from orbit_net.errors import ConfigurationError
from orbit_net.net import TcpAddress, UnixAddress, parse_address, parse_target


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("localhost:50051", TcpAddress("localhost", 50051)),
        ("dns:///node1:1", TcpAddress("node1", 1)),
        ("dns:node1:1", TcpAddress("node1", 1)),
        ("passthrough:///node1:1", TcpAddress("node1", 1)),
        ("ipv4:127.0.0.1:80", TcpAddress("127.0.0.1", 80)),
        ("ipv6:[::1]:80", TcpAddress("::1", 80)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
        ("http://node1:8080", TcpAddress("node1", 8080)),
        ("http://node1", TcpAddress("node1", 80)),
        ("http://[::1]:8080/", TcpAddress("::1", 8080)),
        ("https://node1:8443", TcpAddress("node1", 8443)),
        ("https://node1", TcpAddress("node1", 443)),
        ("unix:relative.sock", UnixAddress("relative.sock")),
        ("unix:/run/node.sock", UnixAddress("/run/node.sock")),
        ("unix:///run/node.sock", UnixAddress("/run/node.sock")),
        ("unix:/run/a%20b.sock", UnixAddress("/run/a b.sock")),
        ("unix-abstract:node", UnixAddress("\0node")),
        ("node1:0", TcpAddress("node1", 0)),
    ],
)
def test_every_form_is_understood(target, address):
    """Each documented form gives the address that it names, for clients and for servers."""
    assert parse_target(target) == address
    assert parse_address(target) == address


@pytest.mark.parametrize(
    "target",
    [
        "",
        "localhost",
        "localhost:",
        ":50051",
        "localhost:port",
        "localhost:65536",
        "localhost:-1",
        "localhost:٣",
        "::1:50051",
        "[::1]",
        "[::1]50051",
        "[::1",
        "[not-ip]:80",
        "host name:80",
        " host:80",
        "user@host:80",
        "host/path:80",
        "dns://8.8.8.8/host:80",
        "dns://host:80",
        "dns:///host",
        "ipv4:localhost:80",
        "ipv4:[::1]:80",
        "ipv6:127.0.0.1:80",
        "unix:",
        "unix://",
        "unix-abstract:",
        "xds:///node1",
        "http://",
        "http://node1:port",
        "http://node1:80/path",
        "http://node1:80?query",
        "http://user@node1:80",
    ],
)
def test_anything_unclear_is_refused_by_name(target):
    """A bad target raises ConfigurationError whose text quotes it."""
    with pytest.raises(ConfigurationError) as raised:
        parse_target(target)
    assert repr(target) in str(raised.value)


@pytest.mark.parametrize(
    ("address", "authority"),
    [
        (TcpAddress("node1", 80), "node1:80"),
        (TcpAddress("::1", 80), "[::1]:80"),
        (TcpAddress("fe80::1%eth0", 80), "[fe80::1]:80"),
        (UnixAddress("/run/node.sock"), "localhost"),
    ],
)
def test_authority(address, authority):
    """IPv6 hosts stand in brackets and without their zone; a socket file has no host."""
    assert address.authority == authority


@pytest.mark.parametrize(
    "address", [TcpAddress("node1", 80), TcpAddress("::1", 80), UnixAddress("/a/b.sock"), UnixAddress("\0abstract")]
)
def test_text_is_a_target_again(address):
    """The text of an address can be given to a channel."""
    assert parse_target(str(address)) == address
