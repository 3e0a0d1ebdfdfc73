"""Certificates made for a test: authorities, servers, clients, good and bad."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orbit_net.net import TlsConfig

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
HOSTS = ("localhost", "127.0.0.1", "::1")
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _san(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


class Pair:
    """A certificate with its key; ``serial`` is the number of the certificate."""

    def __init__(self, certificate, key):
        self.certificate = certificate
        self.key = key
        self.serial = certificate.serial_number
        self.chain = _pem(certificate)

    def key_pem(self, password=None):
        """Return the key as PEM, encrypted if there is a password."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption(),
        )

    def write(self, directory, name="node", *, password=None):
        """Write ``name.crt`` and ``name.key`` and return their paths as arguments of a TlsConfig."""
        certificate, key = Path(directory, f"{name}.crt"), Path(directory, f"{name}.key")
        certificate.write_bytes(self.chain)
        key.write_bytes(self.key_pem(password))
        return {"certificate": certificate, "private_key": key}


class Authority:
    """Signs certificates; ``pem`` is its own."""

    def __init__(self, name="test authority"):
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        unsigned = self._builder(self._name, self._key, NOW - 10 * DAY, NOW + 10 * DAY)
        unsigned = unsigned.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
        unsigned = unsigned.add_extension(x509.KeyUsage(**usage), critical=True)
        self.pem = _pem(unsigned.sign(self._key, hashes.SHA256()))

    def _builder(self, subject, key, start, end):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def issue(self, common_name="node-1", *, hosts=HOSTS, start=NOW - DAY, end=NOW + DAY):
        """Return a new pair that is good for both sides."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self._builder(_name(common_name), key, start, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(usage, critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([_san(host) for host in hosts]), critical=False)
        return Pair(builder.sign(self._key, hashes.SHA256()), key)

    def expired(self, common_name="node-1", **options):
        """Return a pair whose time is over."""
        return self.issue(common_name, start=NOW - 3 * DAY, end=NOW - 2 * DAY, **options)


class Site:
    """An authority with a server and a client of it, their files in a directory, and a stranger of an authority."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.authority, self.stranger = Authority(), Authority("another authority")
        self.server, self.client = self.authority.issue("server-1"), self.authority.issue("client-1")
        self.ca = self.directory / "ca.crt"
        self.ca.write_bytes(self.authority.pem)
        self._server_files = self.server.write(self.directory, "server")
        self._client_files = self.client.write(self.directory, "client")

    def for_server(self, pair=None, **options):
        """Return a TlsConfig of a server; ``pair`` replaces its own certificate."""
        return TlsConfig(**{**self._files(pair, self._server_files), **options})

    def for_mtls(self, pair=None, **options):
        """Return a TlsConfig of a server that requires client certificates."""
        return self.for_server(pair, **{"ca": self.ca, "client_verification": "required", **options})

    def for_client(self, pair=None, **options):
        """Return a TlsConfig of a channel; ``pair`` is the certificate that it presents."""
        return TlsConfig(**{"ca": self.ca, **self._files(pair, {}), **options})

    def with_certificate(self, **options):
        """Return a TlsConfig of a channel that presents a good certificate."""
        return TlsConfig(**{"ca": self.ca, **self._client_files, **options})

    def _files(self, pair, default):
        return default if pair is None else pair.write(self.directory, f"{pair.serial:x}")
