"""The other implementation is here."""

import pytest


def test_grpcio_is_installed():
    """Without grpcio (``pip install grpcio grpcio-tools grpcio-status``) there is nothing to test against."""
    grpc = pytest.importorskip("grpc", reason="grpcio is missing: the interop tests do not run")
    assert grpc.__version__
