"""Answers of a stand-in held back until it is known how they shall be sent: whole, half, or not at all."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Send


class HeldAnswer:
    """Takes the place of ASGI's ``send``; :meth:`forward` then sends what came."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        """One part of the answer."""
        self._messages.append(message)

    @property
    def status(self) -> int | None:
        """The answer's status."""
        return next((message["status"] for message in self._messages if message["type"] == "http.response.start"), None)

    async def forward(self, *, half: bool, drop: bool) -> None:
        """Sends the answer, half of it, or nothing; the latter two close the connection."""
        if drop:
            # ASGI knows no answer without a status line, so this reaches through to uvicorn's transport
            self._send.__self__.transport.abort()  # type: ignore[attr-defined]
            await asyncio.sleep(0)
            return
        for message in self._messages:
            if half and message["type"] == "http.response.body":
                content = message.get("body", b"")
                await self._send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
                self._send.__self__.transport.close()  # type: ignore[attr-defined]
                await asyncio.sleep(0)
                return
            await self._send(message)


def replay(body: bytes) -> Receive:
    """ASGI's ``receive`` for a request whose body has been read already."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return next(messages, {"type": "http.disconnect"})

    return receive
