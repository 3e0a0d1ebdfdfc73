"""What each side needs for a transport: plain text, or TLS with certificates made for the run."""

import grpc

from certificates import Site


class Plain:
    """Nothing."""

    ca = None
    grpcio_channel = grpcio_server = None

    def channel(self):
        """Return the keywords of our channel."""
        return {}

    def server(self):
        """Return the keywords of our server."""
        return {}


class Tls:
    """An authority and a certificate of it for servers.

    ``ca``, ``certificate`` and ``key`` are files of PEM; ``grpcio_channel`` and ``grpcio_server`` grpcio's credentials.
    """

    def __init__(self, directory):
        self._site = site = Site(directory)
        server = site.for_server()
        self.ca, self.certificate, self.key = str(site.ca), str(server.certificate), str(server.private_key)
        self.grpcio_channel = grpc.ssl_channel_credentials(site.authority.pem)
        self.grpcio_server = grpc.ssl_server_credentials([(site.server.key_pem(), site.server.chain)])

    def channel(self):
        """Trust the authority."""
        return {"tls": self._site.for_client()}

    def server(self):
        """Present the certificate."""
        return {"tls": self._site.for_server()}
