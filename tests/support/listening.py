"""Interceptors that note what they are told: the same on both sides, for the shape is the same."""


def tracing(name, seen):
    """Return an interceptor that adds its steps to the list ``seen``, and its name to each message."""

    async def interceptor(call, proceed):
        seen.append(f"{name} before")

        async def sending(message):
            seen.append(f"{name} sends {message.decode()}")
            return message + name.encode()

        async def receiving(message):
            seen.append(f"{name} receives {message.decode()}")
            return message + name.encode()

        call.on_send(sending)
        call.on_receive(receiving)
        call.on_end(lambda status, text: seen.append(f"{name} ends {status.name}"))
        await proceed(call)
        seen.append(f"{name} after")

    return interceptor


def counting(counts):
    """Return an interceptor that adds to ``counts``, by method: messages sent, messages received, statuses."""

    async def interceptor(call, proceed):
        sent, received, ended = counts.setdefault(call.method, ([], [], []))

        async def sending(message):
            sent.append(message)
            return message

        async def receiving(message):
            received.append(message)
            return message

        call.on_send(sending)
        call.on_receive(receiving)
        call.on_end(lambda status, text: ended.append(status))
        await proceed(call)

    return interceptor
