"""What each side needs for a transport: plain text, or TLS with certificates made for the run."""


class Plain:
    """Nothing."""

    host = "127.0.0.1"
    ca = certificate = key = None

    def channel(self):
        """Return the keywords of our channel."""
        return {}

    def server(self):
        """Return the keywords of our server."""
        return {}

    def grpcio_channel(self):
        """Return grpcio's credentials for a channel."""
        return

    def grpcio_server(self):
        """Return grpcio's credentials for a server."""
        return


PLAIN = Plain()
SECURE = None
