"""Which messages came compressed to our side. Users are not told; the compression cases ask."""

from orbit_net.client import receiving
from orbit_net.codec import Codec
from orbit_net.server import call
from orbit_net.wire.compression import decompress

_MARK = "_came_compressed"


class _Inflated(bytes):
    """The bytes of a message that was compressed on its way."""


def _inflate(*arguments):
    return _Inflated(decompress(*arguments))


def note_flags(monkeypatch):
    """Let :class:`NotingCodec` see what was inflated, on both sides of ours."""
    monkeypatch.setattr(receiving, "decompress", _inflate)
    monkeypatch.setattr(call, "decompress", _inflate)


class NotingCodec(Codec):
    """Marks the messages that were inflated."""

    def decode(self, data, message_type):
        """Return the message."""
        message = super().decode(data, message_type)
        vars(message)[_MARK] = isinstance(data, _Inflated)
        return message


def came_compressed(message):
    """Whether a message of a :class:`NotingCodec` was compressed on its way."""
    return vars(message)[_MARK]
