"""Which proxy a target goes through: choice, environment, exceptions, and what is said of a bad one."""

import base64
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_net.errors import ConfigurationError
from orbit_net.net import ENVIRONMENT, parse_target
from orbit_net.net.address import TcpAddress
from orbit_net.net.proxy import Proxy, bypasses, choose_proxy, parse_proxy
from orbit_net.net.redaction import without_credentials


def chosen(target, environ=None, *, proxy=ENVIRONMENT):
    """Return the proxy of a target as text, or None."""
    found = choose_proxy(proxy, target, environ or {})
    if found is None:
        return None
    assert found[1] == parse_target(target)
    return str(found[0])


HTTPS = {"https_proxy": "http://proxy:3128"}


def test_the_choice():
    """A URL is for every target, None for none, whatever the environment says."""
    for target in ("host:1", "localhost:1", "127.0.0.1:1", "ipv4:10.0.0.1:1", "[::1]:1"):
        assert chosen(target, {"no_proxy": "*"}, proxy="http://chosen:1") == "http://chosen:1"
        assert chosen(target, HTTPS, proxy=None) is None


@pytest.mark.parametrize("target", ["static:a:1,b:2", "ipv4:10.0.0.1:1,10.0.0.2:1", "nodes:///cluster", "unix:1"])
def test_targets_of_other_kinds(target):
    """Lists of addresses, and schemes of a user's own, are nothing for the environment's proxies."""
    assert choose_proxy(ENVIRONMENT, target, HTTPS) is None


@pytest.mark.parametrize("target", ["unix:/x", "unix-abstract:x"])
def test_sockets_of_this_machine(target):
    """The environment does not matter to them, and a choice is a mistake."""
    assert chosen(target, HTTPS) is None
    with pytest.raises(ConfigurationError, match="is a socket of this machine"):
        chosen(target, proxy="http://proxy:1")


def test_the_variables():
    """The first of grpc_proxy, https_proxy and HTTPS_PROXY that is set and not empty counts; http_proxy does not."""
    environ = {"HTTPS_PROXY": "http://c:3"}
    assert chosen("host:1", environ) == "http://c:3"
    environ["https_proxy"] = "b:2"
    assert chosen("host:1", environ) == "http://b:2"
    environ["grpc_proxy"] = ""
    assert chosen("host:1", environ) == "http://b:2"
    environ["grpc_proxy"] = "http://a"
    assert chosen("host:1", environ) == "http://a:80"
    assert chosen("host:1", {"http_proxy": "http://a:1", "HTTP_PROXY": "http://a:1"}) is None
    assert chosen("host:1", {}) is None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("host:1", True),
        ("dns:///host:1", True),
        ("http://host", True),
        ("https://host", True),
        ("10.0.0.1:1", True),
        ("[2001:db8::1]:1", True),
        ("localhost:1", False),
        ("dns:///LocalHost.:1", False),
        ("127.1.2.3:1", False),
        ("[::1]:1", False),
        ("[::ffff:127.0.0.1]:1", False),
        ("ipv4:10.0.0.1:1", False),
        ("ipv6:[2001:db8::1]:1", False),
        ("passthrough:///host:1", True),
    ],
)
def test_which_targets_the_environment_is_for(target, expected):
    """Those that name a host, and not this one."""
    assert chosen(target, HTTPS) == ("http://proxy:3128" if expected else None)


def test_the_exceptions():
    """no_grpc_proxy, no_proxy and NO_PROXY in that order."""
    assert chosen("a:1", HTTPS | {"no_proxy": "a"}) is None
    assert chosen("a:1", HTTPS | {"NO_PROXY": "a"}) is None
    assert chosen("a:1", HTTPS | {"no_grpc_proxy": "b", "no_proxy": "a"}) == "http://proxy:3128"
    assert chosen("b:1", HTTPS | {"no_grpc_proxy": "b", "no_proxy": "a"}) is None
    # A variable that is of no use does not matter to a target that does not need it.
    assert chosen("a:1", {"https_proxy": "socks5://x", "no_proxy": "a"}) is None


def test_ours_is_not_asked():
    """A host that cannot stand in a request to a proxy is refused before any I/O."""
    for host in ("a\r\nx", "hö", "a\tb"):
        with pytest.raises(ConfigurationError, match="cannot be asked of a proxy"):
            choose_proxy("http://p:1", f"{host}:1", {})
    with pytest.raises(ConfigurationError, match="unknown scheme"):
        choose_proxy("http://p:1", "weird://host:1", {})


@pytest.mark.parametrize(
    ("exceptions", "host", "expected"),
    [
        ("*", "anything:1", True),
        ("", "a:1", False),
        (" , ,", "a:1", False),
        ("a.b", "a.b:1", True),
        ("a.b", "x.a.b:1", True),
        ("a.b", "xa.b:1", False),
        ("a.b", "b:1", False),
        ("A.B.", "X.a.b.:1", True),
        (".a.b", "x.a.b:1", True),
        (".a.b", "a.b:1", False),
        ("*.a.b", "x.y.a.b:1", True),
        ("*.a.b", "a.b:1", False),
        ("x, a.b", "a.b:1", True),
        ("x a.b", "a.b:1", True),
        ("a.b:50", "a.b:50", True),
        ("a.b:50", "a.b:51", False),
        (".a.b:50", "x.a.b:50", True),
        ("10.0.0.1", "10.0.0.1:1", True),
        ("10.0.0.1:1", "10.0.0.1:1", True),
        ("10.0.0.1:2", "10.0.0.1:1", False),
        ("10.0.0.1", "x10.0.0.1:1", False),
        ("0.1", "10.0.0.1:1", False),
        ("10.0.0.0/8", "10.9.9.9:1", True),
        ("10.0.0.0/8", "11.0.0.1:1", False),
        ("10.0.0.7/8", "10.9.9.9:1", True),
        ("10.0.0.0/8", "host:1", False),
        ("10.0.0.0/99", "10.0.0.1:1", False),
        ("2001:db8::/32", "[2001:db8::5]:1", True),
        ("2001:db8::/32", "10.0.0.1:1", False),
        ("2001:DB8::5", "[2001:db8:0:0::5]:1", True),
        ("[2001:db8::5]:7", "[2001:db8::5]:7", True),
        ("[2001:db8::5]:7", "[2001:db8::5]:8", False),
        ("[2001:db8::5]", "[2001:db8::5]:8", True),
        ("10.0.0.1", "[::ffff:10.0.0.1]:1", True),
        (".", "a:1", False),
        ("*.", "a:1", False),
        ("a:", "a:1", False),
        ("[", "a:1", False),
        ("/", "10.0.0.1:1", False),
    ],
)
def test_no_proxy(exceptions, host, expected):
    """Hosts, domains, suffixes, addresses, networks and ports."""
    assert bypasses(exceptions, parse_target(host)) is expected


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,5}(\.[a-z][a-z0-9-]{0,5}){0,3}", fullmatch=True)


@given(st.text(max_size=30), NAMES, st.integers(0, 65_535))
def test_any_exceptions(exceptions, host, port):
    """Whatever the variable holds, the answer is yes or no, and more entries never make fewer exceptions."""
    address = TcpAddress(host, port)
    before = bypasses(exceptions, address)
    assert before in (True, False)
    assert bypasses(f"{exceptions},{host}", address)
    if before:
        assert bypasses(f"other.example,{exceptions}", address)


@given(NAMES, NAMES)
def test_domains_by_their_labels(domain, host):
    """A domain matches itself and what ends in a dot and it, as the labels say."""
    labels, wanted = host.split("."), domain.split(".")
    below = len(labels) > len(wanted) and labels[-len(wanted) :] == wanted
    assert bypasses(domain, TcpAddress(host, 1)) == (below or host == domain)
    assert bypasses(f".{domain}", TcpAddress(host, 1)) == below


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_networks(base, length, ip):
    """A network matches the addresses in it."""
    network = ipaddress.ip_network(f"{base}/{length}", strict=False)
    assert bypasses(f"{base}/{length}", TcpAddress(str(ip), 1)) == (ip in network)


# --- URLs ----------------------------------------------------------------------------------------


def test_credentials():
    """They are decoded, become Basic, and are in no text."""
    proxy = parse_proxy("http://user%40x:p%3Ass%2Fwort@proxy:1", "proxy")
    assert proxy.address == TcpAddress("proxy", 1)
    assert base64.b64decode(proxy.authorization.removeprefix("Basic ")) == b"user@x:p:ss/wort"
    assert repr(proxy) == "Proxy(address=TcpAddress(host='proxy', port=1))"
    assert str(proxy) == "http://***@proxy:1"
    assert str(Proxy(TcpAddress("::1", 1))) == "http://[::1]:1"
    assert parse_proxy("http://user@proxy:1", "x").authorization == "Basic " + base64.b64encode(b"user:").decode()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://u:secret@proxy:1", r"is 'https://\*\*\*@proxy:1'; only http://"),
        ("socks5://proxy:1", "is 'socks5://proxy:1'; only http://"),
        ("http://u:secret@proxy:port", r"is 'http://\*\*\*@proxy:port'; it must be http://"),
        ("http://u:secret@", "it must be http://"),
        ("http://u:sec/ret@proxy:1", r"is 'http://\*\*\*@proxy:1'; it must be"),
        ("http://u:sec@ret@proxy:99999", r"is 'http://\*\*\*@proxy:99999'"),
        ("http://proxy:1/path", "it must be http://"),
        ("http://proxy:1?a=b", "it must be http://"),
        ("http://[::1:1", "it must be http://"),
        ("", "it must be http://"),
        ("http://a%3Ab:secret@proxy:1", "may not contain a colon"),
        ("u:secret@proxy:port", r"is '\*\*\*@proxy:port'"),
    ],
)
def test_a_wrong_url(url, text):
    """The error names the variable, the URL without credentials, and what is allowed."""
    with pytest.raises(ConfigurationError, match=f"https_proxy.*{text}") as raised:
        parse_proxy(url, "https_proxy")
    assert "sec" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@given(st.text(max_size=20), st.from_regex(r"[a-zA-Z0-9]{8,12}", fullmatch=True), st.text(max_size=20))
def test_no_secret_survives(before, secret, after):
    """What stands before the last @ is not shown."""
    shown = without_credentials(f"http://{before}{secret}@{after}")
    assert secret not in shown or secret in after
    assert without_credentials("http://proxy:1") == "http://proxy:1"
