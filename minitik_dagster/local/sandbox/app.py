"""The ASGI application: guard, route, apply the fault, answer or cut, and write the call down."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

from minitik_dagster.hosts import LOOPBACK_HOSTS, host_name
from minitik_dagster.local.sandbox import control, page
from minitik_dagster.local.sandbox.faults import DEFAULT_STATUS, Fault
from minitik_dagster.local.sandbox.http import (
    BodyTooLargeError,
    Call,
    DisconnectedError,
    Message,
    Receive,
    Reply,
    Route,
    json_reply,
)
from minitik_dagster.local.sandbox.instagram.platform import Instagram
from minitik_dagster.local.sandbox.tiktok.platform import TikTok
from minitik_dagster.local.sandbox.world import RecordedCall, World
from minitik_dagster.local.sandbox.youtube.platform import YouTube

Send = Callable[[Message], Awaitable[None]]
CUT_EXTENSION: Final = "sandbox.cut"
"""Scope extension with a function that closes the TCP connection at once."""


class Platform(Protocol):
    """What the application needs of each emulated platform."""

    name: str
    prefixes: tuple[str, ...]

    def route(self, call: Call) -> Route | None:
        """Return who answers a request, or None where the platform has no such address."""
        ...

    async def account_of(self, call: Call) -> str | None:
        """Return the account a request speaks for, whether or not its token still works."""
        ...

    def refusal(self, status: int, code: str | None) -> Reply:
        """Return an error answer in the platform's own envelope."""
        ...

    def not_found(self) -> Reply:
        """Return the platform's answer to an address it does not have."""
        ...

    def throttled(self, call: Call, code: str | None) -> Reply:
        """Return the platform's answer to too many calls."""
        ...


class Sandbox:
    """The sandbox as an ASGI application over one `World`."""

    def __init__(self, world: World, hosts: frozenset[str] = LOOPBACK_HOSTS) -> None:
        self.world = world
        self.hosts = hosts
        self.platforms: tuple[Platform, ...] = (TikTok(world), Instagram(world), YouTube(world))
        self._by_prefix = {
            prefix: platform for platform in self.platforms for prefix in platform.prefixes
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        host = headers.get("host", "")
        named = sum(name == b"host" for name, _ in scope["headers"])
        if named != 1 or host_name(host) not in self.hosts:
            told = "the sandbox answers on loopback, and by the names in MINITIK_ALLOWED_HOSTS"
            await _send(send, json_reply(403, {"error": told}))
            return
        path: str = scope["path"]
        head, _, rest = path[1:].partition("/")
        now = self.world.clock.now_ms()
        call = Call(
            method=scope["method"],
            prefix="/" + head,
            path="/" + rest,
            query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
            headers=headers,
            receive=receive,
            now_ms=now,
            as_of_ms=now,
            origin="http://" + host,
        )
        platform = self._by_prefix.get(call.prefix)
        try:
            if platform is None:
                reply: Reply | None = await self._own(call, path)
            else:
                reply = await self._platform(platform, call)
        except DisconnectedError:
            self.world.witness.see(call, None)
            return
        except BodyTooLargeError:
            reply = json_reply(413, {"error": "the body is too large"})
        self.world.witness.see(call, reply)
        if reply is None:
            await _cut(scope, receive)
        else:
            await _send(send, reply)

    async def _own(self, call: Call, path: str) -> Reply:
        if path == "/" and call.method == "GET":
            return page.page()
        if call.prefix == "/_sandbox":
            return await control.answer(self.world, call)
        return json_reply(404, {"error": f"there is nothing at {path}"})

    async def _platform(self, platform: Platform, call: Call) -> Reply | None:
        route = platform.route(call)
        call.account = await platform.account_of(call)
        record = RecordedCall(
            platform=platform.name,
            operation=route.operation if route else "unknown",
            method=call.method,
            path=call.prefix + call.path,
            at=call.now_ms,
            account=call.account,
        )
        self.world.calls.append(record)
        if route is None:
            reply: Reply | None = platform.not_found()
        else:
            fault = (
                self.world.faults.take(platform.name, route.operation, call.account)
                if self.world.faults
                else None
            )
            if fault is None:
                reply = await route.handler(call)
            else:
                record.fault = fault.kind
                reply = await self._with_fault(platform, route, call, fault)
        if reply is not None:
            record.status = reply.status
        return reply

    async def _with_fault(
        self, platform: Platform, route: Route, call: Call, fault: Fault
    ) -> Reply | None:
        match fault.kind:
            case "drop-before":
                return None
            case "status":
                return _asking_back(
                    platform.refusal(fault.status or DEFAULT_STATUS, fault.code), fault
                )
            case "throttle":
                return _asking_back(platform.throttled(call, fault.code), fault)
            case "late-effect":
                pieces = [piece async for piece in call.stream()]
                call.replace_body(b"".join(pieces))
                self.world.spawn(self._apply_late(route, call, fault.delayMs))
                return None
            case "delay-before":
                await asyncio.sleep(fault.delayMs / 1000)
            case "revoke":
                if call.account is not None:
                    self.world.withdraw(platform.name, call.account)
            case "stale-read":
                call.as_of_ms -= fault.delayMs
            case "slow-processing":
                call.slow_ms = fault.delayMs
            case "fail-processing":
                call.fail_code = fault.code
            case _:
                pass  # delay, drop-after and error-after shape the answer, below
        reply = await route.handler(call)
        if fault.kind == "delay":
            await asyncio.sleep(fault.delayMs / 1000)
        if fault.kind == "drop-after":
            return None
        if fault.kind == "error-after" and reply.status < 400:
            return platform.refusal(fault.status or DEFAULT_STATUS, fault.code)
        return reply

    async def _apply_late(self, route: Route, call: Call, delay_ms: int) -> None:
        await asyncio.sleep(delay_ms / 1000)
        call.now_ms = call.as_of_ms = self.world.clock.now_ms()
        await route.handler(call)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                for platform in self.platforms:
                    resume: Any = getattr(platform, "resume", None)
                    if resume is not None:
                        resume()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.world.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _asking_back(reply: Reply, fault: Fault) -> Reply:
    if fault.retryAfterSeconds is None:
        return reply
    header = ("Retry-After", str(fault.retryAfterSeconds))
    return replace(reply, headers=(*reply.headers, header))


async def _send(send: Send, reply: Reply) -> None:
    headers = [
        (b"content-length", str(len(reply.body)).encode()),
        *((name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers),
    ]
    if reply.body:
        headers.append((b"content-type", reply.content_type.encode()))
    if reply.status == 204:
        headers = headers[1:]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _cut(scope: Message, receive: Receive) -> None:
    """Close the TCP connection without an answer, and wait until the server has noticed."""
    scope["extensions"][CUT_EXTENSION]()
    while (await receive())["type"] != "http.disconnect":
        pass
