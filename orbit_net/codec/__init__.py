"""Messages to bytes and back."""

from orbit_net.codec.codec import AnyCodec, Codec, MessageCodec, content_type_of
from orbit_net.codec.compiled import source_of

__all__ = ["AnyCodec", "Codec", "MessageCodec", "content_type_of", "source_of"]
