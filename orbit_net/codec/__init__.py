"""Messages to bytes and back."""

from orbit_net.codec.codec import Codec, MessageCodec, content_type_of

__all__ = ["Codec", "MessageCodec", "content_type_of"]
