"""What each side needs for a transport: plain text, or TLS with certificates made for the run."""

import grpc

from certificates import Site


class Plain:
    """Nothing."""

    ca = certificate = key = None

    def channel(self):
        """Return the keywords of our channel."""
        return {}

    def server(self):
        """Return the keywords of our server."""
        return {}

    def grpcio_channel(self):
        """Return grpcio's credentials for a channel."""
        return None

    def grpcio_server(self):
        """Return grpcio's credentials for a server."""
        return None


class Tls(Plain):
    """An authority, and a server's certificate; ``ca``, ``certificate`` and ``key`` are files of PEM."""

    def __init__(self, directory):
        self._site = Site(directory)
        server = self._site.for_server()
        self.ca, self.certificate, self.key = str(self._site.ca), str(server.certificate), str(server.private_key)

    def channel(self):
        """Trust the authority."""
        return {"tls": self._site.for_client()}

    def server(self):
        """Present the certificate."""
        return {"tls": self._site.for_server()}

    def grpcio_channel(self):
        """Trust the authority."""
        return grpc.ssl_channel_credentials(self._site.authority.pem)

    def grpcio_server(self):
        """Present the certificate."""
        return grpc.ssl_server_credentials([(self._site.server.key_pem(), self._site.server.chain)])
