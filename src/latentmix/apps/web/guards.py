"""What stands between a local server and the pages and people who are not meant to use it.

Whoever can open a socket to this machine can try: other pages in the same browser, names that
resolve to 127.0.0.1 (DNS rebinding), other users of the machine. So of every request

    the Host is this server's, or an address      a name of someone else's is refused (421)
    the Origin, if there is one, is its own       no other page may ask (403)
    the caller is known                           by a cookie, or by a bearer token (401)
    a write carries the header X-Latentmix        which no form and no link can send (403)
    the body ends in time and in bounds           counted as it streams (408, 413)

The cookie is had once: the first visit to the link that was printed gets it, and is sent on to the
bare address. Nothing is allowed across origins, and answers say so in their headers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

# Bytes of a body, and seconds until it has to be there.
MOST_BYTES: Final = 64 << 20
PATIENCE: Final = 10.0

WRITE_HEADER: Final = "x-latentmix"
SAFE_METHODS: Final = ("GET", "HEAD")

HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Refusal(Exception):  # noqa: N818  # told to the caller, no error of the program
    """A request that is not answered: its status, and a sentence that says why."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


class _Told:
    """What the caller is told: an answer with our headers, unless the request was refused first.

    An application that meets a refusal while it reads a body takes it for a fault of its own, and
    answers; of that nothing is sent.
    """

    def __init__(self, send: Send) -> None:
        self._send, self._begun, self._refused = send, False, False

    async def __call__(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start":
            self._begun = True
            ours = {name.encode(): value.encode() for name, value in HEADERS.items()}
            theirs = [pair for pair in message.get("headers", []) if pair[0] not in ours]
            message = {**message, "headers": [*theirs, *ours.items()]}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Tell why, and close: a body may be on its way that nobody will read."""
        if self._begun or self._refused:
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await self({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self({"type": "http.response.body", "body": f"{refusal.said}\n".encode()})
        self._refused = True


class Guarded:
    """An ASGI application that lets another answer what passes.

    Attributes
    ----------
    token : str
        What a program sends, as ``Authorization: Bearer``.
    link : str
        Where a browser begins: good for one visit.
    """

    def __init__(self, app: App, host: str, port: int) -> None:
        self.app, self.port = app, port
        self.token = secrets.token_urlsafe(24)
        self._session, self._ticket = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._ticket_used = False
        self.cookie = f"latentmix-{port}"
        self.names = {"localhost", host}
        shown = "127.0.0.1" if host == "0.0.0.0" else host
        self.address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
        self.link = f"{self.address}?ticket={self._ticket}"

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] != "http":
            raise RuntimeError(f"A connection of type {scope['type']!r} is not served.")
        told = _Told(send)
        try:
            headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
            self._check_address(headers)
            if self._asks_for_a_cookie(scope):
                await self._give_cookie(scope, told)
                return
            self._check_caller(headers)
            if scope["method"] not in SAFE_METHODS and WRITE_HEADER not in headers:
                raise Refusal(403, f"A {scope['method']} needs the header X-Latentmix: 1.")
            bounded = _bounded(receive, told, headers.get("content-length"))
            await self.app(scope, bounded, told)
        except Refusal as refusal:
            await told.refuse(refusal)

    def _check_address(self, headers: dict[str, str]) -> None:
        if not self._is_ours(headers.get("host", "")):
            raise Refusal(421, f"This server is {self.address}, and answers to no other name.")
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{headers['host']}":
            raise Refusal(403, f"The page {origin} is another's, and may not ask here.")

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host is this server's: its own name, or an address, and its port."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port
        except ValueError:
            return False
        if port != self.port or parts.username is not None or host != parts.netloc:
            return False
        return name in self.names or _is_address(name)

    def _asks_for_a_cookie(self, scope: MutableMapping[str, Any]) -> bool:
        return scope["path"] == "/" and b"ticket=" in scope["query_string"]

    async def _give_cookie(self, scope: MutableMapping[str, Any], send: Send) -> None:
        """Give the one who comes with the ticket a cookie, once, and send them on without it."""
        (ticket,) = parse_qs(scope["query_string"].decode("latin-1")).get("ticket", [""])[:1]
        if self._ticket_used or not secrets.compare_digest(ticket.encode(), self._ticket.encode()):
            raise Refusal(403, "This link was used before, or is none. Start the server anew.")
        self._ticket_used = True
        cookie = f"{self.cookie}={self._session}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode())]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _check_caller(self, headers: dict[str, str]) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(token.strip(), self.token):
            return
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            cookie = None
        if cookie is None or not _same(cookie.value, self._session):
            raise Refusal(
                401,
                "Nobody is known here without the link or the token that the server printed. Send "
                "Authorization: Bearer TOKEN.",
            )


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _bounded(receive: Receive, told: _Told, length: str | None) -> Receive:
    """Return what receives a body of so many bytes at most, within so many seconds in all."""
    too_large = Refusal(
        413, f"The body is larger than {MOST_BYTES >> 20} MiB. Send fewer rows at once."
    )
    if length is not None and length.isdigit() and int(length) > MOST_BYTES:
        raise too_large
    loop = asyncio.get_running_loop()
    until, seen, ended = loop.time() + PATIENCE, 0, False

    async def bounded() -> Message:
        nonlocal seen, ended
        if ended:  # what comes now is that the other side has left
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), until - loop.time())
            seen += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if seen > MOST_BYTES:
                raise too_large
        except TimeoutError:
            late = Refusal(408, f"The request did not end within {PATIENCE:g} seconds.")
            await told.refuse(late)
            raise late from None
        except Refusal as refusal:
            await told.refuse(refusal)
            raise
        return message

    return bounded
