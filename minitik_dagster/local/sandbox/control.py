"""The control interface under `/_sandbox`: seeding, inspection, limits, faults, time."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from minitik_dagster.local.sandbox import control_events
from minitik_dagster.local.sandbox.events import EventError, removal_of_post
from minitik_dagster.local.sandbox.faults import PLATFORMS, FaultError, parse_fault
from minitik_dagster.local.sandbox.http import Call, JsonObject, Reply, json_reply
from minitik_dagster.local.sandbox.limits import LimitsError
from minitik_dagster.local.sandbox.numbers import NumbersError, seed_video, seeded
from minitik_dagster.local.sandbox.tiktok.oauth import issue_pair
from minitik_dagster.local.sandbox.world import World

_ACCOUNT_FIELDS: Final = {
    "platform": str,
    "platformAccountId": str,
    "username": str,
    "private": bool,
    "scopes": list,
}
_LIFETIMES: Final = ("expiresIn", "refreshExpiresIn")


class ControlError(ValueError):
    """A control request was wrong; the text names the field and what it takes."""


async def answer(world: World, call: Call) -> Reply:
    """Answer one control request; a wrong one is a 400 that names the field."""
    handler = _ROUTES.get((call.method, call.path))
    if handler is None:
        known = ", ".join(sorted(f"{m} /_sandbox{p}" for m, p in _ROUTES))
        return json_reply(404, {"error": f"no such control; there are: {known}"})
    try:
        return await handler(world, call)
    except (ControlError, EventError, FaultError, LimitsError, NumbersError) as problem:
        return json_reply(400, {"error": str(problem)})


async def _object(call: Call) -> JsonObject:
    body = await call.json()
    if body is None:
        raise ControlError("the body must be a JSON object")
    return body


async def _health(world: World, _call: Call) -> Reply:
    return json_reply(200, {"status": "ok", "now": world.clock.now_ms()})


def _account_of(world: World, platform: str, account: str) -> dict[str, Any]:
    row = world.accounts.find(platform, account)
    if row is None:
        raise ControlError("the account was not created")
    return {
        "platform": platform,
        "platformAccountId": account,
        "username": row["username"],
        "private": bool(row["private"]),
        "scopes": json.loads(row["scopes"]),
    }


async def _create_account(world: World, call: Call) -> Reply:
    body = await _object(call)
    for name, value in body.items():
        kind = _ACCOUNT_FIELDS.get(name)
        if name in _LIFETIMES:
            if value is not None and (type(value) is not int or value < 1):
                raise ControlError(f"{name} must be a positive number of seconds; got {value!r}")
        elif kind is None:
            known = ", ".join((*_ACCOUNT_FIELDS, *_LIFETIMES))
            raise ControlError(f"unknown field {name}; known are {known}")
        elif value is not None and not isinstance(value, kind):
            raise ControlError(f"{name} must be a {kind.__name__}; got {value!r}")
    platform = body.get("platform")
    if platform not in PLATFORMS:
        raise ControlError(f"platform must be one of {', '.join(PLATFORMS)}; got {platform!r}")
    scopes = body.get("scopes")
    with world.store.transaction():
        account = world.accounts.ensure(
            platform,
            body.get("platformAccountId"),
            body.get("username"),
            body.get("private"),
            tuple(str(scope) for scope in scopes) if scopes else None,
        )
        shown = _account_of(world, platform, account)
        tokens = _issue(
            world,
            platform,
            account,
            frozenset(shown["scopes"]),
            body.get("expiresIn"),
            body.get("refreshExpiresIn"),
        )
    return json_reply(201, {**shown, **tokens})


def _issue(
    world: World,
    platform: str,
    account: str,
    scopes: frozenset[str],
    expires_in: int | None,
    refresh_expires_in: int | None,
) -> dict[str, Any]:
    if platform == "tiktok":
        pair = issue_pair(world, account, scopes, expires_in, refresh_expires_in)
        return {
            "accessToken": pair["access_token"],
            "refreshToken": pair["refresh_token"],
            "expiresIn": pair["expires_in"],
            "refreshExpiresIn": pair["refresh_expires_in"],
        }
    name = "longTtlSeconds" if platform == "instagram" else "accessTtlSeconds"
    seconds = expires_in or world.limits.number(platform, name)
    refresh = None
    if platform == "youtube":
        refresh = world.accounts.issue(platform, account, "refresh", scopes, refresh_expires_in)
    return {
        "accessToken": world.accounts.issue(platform, account, "access", scopes, seconds),
        "refreshToken": refresh,
        "expiresIn": seconds,
        "refreshExpiresIn": refresh_expires_in if refresh else None,
    }


async def _list_accounts(world: World, _call: Call) -> Reply:
    rows = world.accounts.listed()
    return json_reply(200, {"accounts": [_account_of(world, r["platform"], r["id"]) for r in rows]})


async def _posts(world: World, call: Call) -> Reply:
    now = world.clock.now_ms()
    _release_due(world)
    everything = call.query.get("all") in {"1", "true"}
    posts = world.posts.shown_all(now) if everything else world.posts.shown(now)
    return json_reply(200, {"posts": posts}, (("Cache-Control", "no-store"),))


async def _options(world: World, call: Call) -> Reply:
    """What was asked for a handle (TikTok's publish_id, a container, a video), in the platform's names."""
    return json_reply(
        200, world.posts.options(call.query.get("platform", ""), call.query.get("handle", ""))
    )


async def _seed_posts(world: World, call: Call) -> Reply:
    """Make public posts at once, as if they had been published: for tests of what comes after."""
    posts = [seeded(post) for post in (await _object(call)).get("posts") or []]
    with world.store.transaction():
        for post in posts:
            world.posts.add(post)
            if post.platform == "youtube":
                seed_video(world.store, post)
    return json_reply(201, {"posts": len(posts)})


async def _set_counters(world: World, call: Call) -> Reply:
    """Set what a post's counters are, when, how late, and which are not sent."""
    world.numbers.set(await _object(call))
    return Reply(204)


async def _remove_post(world: World, call: Call) -> Reply:
    """Take a public post away, as its creator or the platform's moderators do."""
    platform, identity = call.query.get("platform", ""), call.query.get("id", "")
    post = world.posts.find(platform, identity)
    if post is None:
        raise ControlError(f"platform and id must name a post; got {platform!r} and {identity!r}")
    with world.store.transaction():
        world.posts.remove(platform, identity, world.clock.now_ms())
        if platform == "youtube":
            world.store.run(
                "UPDATE youtube_videos SET deleted_at = ? WHERE id = ?",
                world.clock.now_ms(),
                identity,
            )
    if platform == "tiktok":
        world.announce(removal_of_post(post["account"], post["handle"], identity))
    return Reply(204)


def _release_due(world: World) -> None:
    from minitik_dagster.local.sandbox.youtube.quota import Quota
    from minitik_dagster.local.sandbox.youtube.videos import YouTubeVideos

    YouTubeVideos(world, Quota(world)).release_due()


async def _calls(world: World, call: Call) -> Reply:
    since = call.query.get("since", "0")
    if not since.isdigit():
        raise ControlError(f"since must be epoch milliseconds; got {since!r}")
    wanted = {name: call.query[name] for name in ("platform", "operation", "account")
              if name in call.query}  # fmt: skip
    return json_reply(
        200,
        {
            "calls": [
                record.shown()
                for record in world.calls
                if record.at >= int(since)
                and all(getattr(record, name) == value for name, value in wanted.items())
            ]
        },
    )


async def _secrets(world: World, _call: Call) -> Reply:
    """Everything secret that the platforms gave out or were shown: a test searches for it elsewhere."""
    return json_reply(200, {"secrets": world.witness.told()}, (("Cache-Control", "no-store"),))


async def _forget_calls(world: World, _call: Call) -> Reply:
    world.calls.clear()
    return Reply(204)


async def _limits(world: World, _call: Call) -> Reply:
    return json_reply(200, world.limits.show())


async def _change_limits(world: World, call: Call) -> Reply:
    world.limits.change(await _object(call))
    return json_reply(200, world.limits.show())


async def _reset_limits(world: World, _call: Call) -> Reply:
    world.limits.reset()
    return json_reply(200, world.limits.show())


async def _faults(world: World, _call: Call) -> Reply:
    return json_reply(200, {"faults": world.faults.show()})


async def _add_fault(world: World, call: Call) -> Reply:
    world.faults.add(parse_fault(await _object(call)))
    return json_reply(201, {"faults": world.faults.show()})


async def _clear_faults(world: World, _call: Call) -> Reply:
    world.faults.clear()
    return Reply(204)


async def _time(world: World, call: Call) -> Reply:
    seconds = (await _object(call)).get("advanceSeconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise ControlError(f"advanceSeconds must be a number of at least 0; got {seconds!r}")
    world.advance(round(seconds * 1000))
    return json_reply(200, {"now": world.clock.now_ms(), "offsetMs": world.clock.offset_ms})


async def _now(world: World, _call: Call) -> Reply:
    return json_reply(200, {"now": world.clock.now_ms(), "offsetMs": world.clock.offset_ms})


_ROUTES: Final[dict[tuple[str, str], Callable[[World, Call], Awaitable[Reply]]]] = {
    **control_events.ROUTES,
    ("GET", "/health"): _health,
    ("POST", "/accounts"): _create_account,
    ("GET", "/accounts"): _list_accounts,
    ("GET", "/posts"): _posts,
    ("POST", "/posts"): _seed_posts,
    ("PUT", "/counters"): _set_counters,
    ("DELETE", "/posts"): _remove_post,
    ("GET", "/options"): _options,
    ("GET", "/calls"): _calls,
    ("DELETE", "/calls"): _forget_calls,
    ("GET", "/secrets"): _secrets,
    ("GET", "/limits"): _limits,
    ("PUT", "/limits"): _change_limits,
    ("DELETE", "/limits"): _reset_limits,
    ("GET", "/faults"): _faults,
    ("POST", "/faults"): _add_fault,
    ("DELETE", "/faults"): _clear_faults,
    ("POST", "/time"): _time,
    ("GET", "/time"): _now,
}
