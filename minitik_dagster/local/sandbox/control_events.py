"""The controls of TikTok's events: where they go, sending one, withdrawing a grant."""

from collections.abc import Awaitable, Callable
from typing import Final

from minitik_dagster.local.sandbox.events import EventError, parse_order, parse_webhook
from minitik_dagster.local.sandbox.http import Call, JsonObject, Reply, json_reply
from minitik_dagster.local.sandbox.world import World


async def _object(call: Call) -> JsonObject:
    body = await call.json()
    if body is None:
        raise EventError("the body must be a JSON object")
    return body


async def _webhook(world: World, _call: Call) -> Reply:
    webhook = world.events.webhook
    return json_reply(200, {"webhook": webhook.shown() if webhook else None})


async def _configure(world: World, call: Call) -> Reply:
    world.events.configure(parse_webhook(await _object(call)))
    return await _webhook(world, call)


async def _forget(world: World, _call: Call) -> Reply:
    world.events.configure(None)
    world.events.deliveries.clear()
    return Reply(204)


async def _deliveries(world: World, _call: Call) -> Reply:
    return json_reply(200, {"deliveries": list(world.events.deliveries)})


async def _send(world: World, call: Call) -> Reply:
    webhook = world.events.webhook
    if webhook is None:
        raise EventError("no webhook is configured; PUT /_sandbox/webhook {url} first")
    order = parse_order(await _object(call))
    return json_reply(200, {"deliveries": await world.events.send(webhook, order)})


async def _revoke(world: World, call: Call) -> Reply:
    """Withdraw a grant as the person does in the platform's app; TikTok tells us with an event."""
    body = await _object(call)
    platform, account, reason = body.get("platform"), body.get("account"), body.get("reason", 1)
    if world.accounts.find(str(platform), str(account)) is None:
        raise EventError(
            f"platform and account must name an account; got {platform!r}, {account!r}"
        )
    if type(reason) is not int or not 0 <= reason <= 5:
        raise EventError(f"reason must be a number from 0 to 5; got {reason!r}")
    world.withdraw(str(platform), str(account), reason)
    return Reply(204)


ROUTES: Final[dict[tuple[str, str], Callable[[World, Call], Awaitable[Reply]]]] = {
    ("GET", "/webhook"): _webhook,
    ("PUT", "/webhook"): _configure,
    ("DELETE", "/webhook"): _forget,
    ("GET", "/events"): _deliveries,
    ("POST", "/events"): _send,
    ("POST", "/revoke"): _revoke,
}
