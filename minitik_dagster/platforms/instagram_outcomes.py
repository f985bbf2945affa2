"""Instagram's documented codes and subcodes and what each means for us.

Sources: "Error Codes - Instagram Platform" (2026-06-02), "Handle Errors - Graph API", "IG Container"
(developers.facebook.com). A pair (code, subcode) wins over (code, None).
"""

import re
from collections.abc import Mapping
from datetime import timedelta

from minitik_dagster.errors import PlatformError
from minitik_dagster.platforms.outcomes import Class, Rule, spoken, undocumented

POLICY_VERSION = "instagram-2026-11.1"

_MINUTE, _TEN_MINUTES = timedelta(minutes=1), timedelta(minutes=10)
_HOUR = timedelta(hours=1)
_RECONNECT = "reconnect the Instagram account"
_NEW_FILE = "make the video anew within Instagram's limits and upload it again"
_FAULT = Rule(Class.TRANSIENT, "Instagram had a fault of its own", unhealthy=True, refusal=False)
_AGAIN = Rule(Class.HANDLE_DEAD, "Instagram could not make the reel; it may be made anew")
_MAYBE_AGAIN = Rule(
    Class.HANDLE_DEAD, "Instagram could not make the reel; it may be made anew", refusal=False
)
_FETCH = Rule(Class.HANDLE_DEAD, "Instagram could not fetch the video from our store in time")
_THROTTLED = Rule(Class.THROTTLED, "Instagram allows no more calls for now", wait=_TEN_MINUTES)
_NO_PERMISSION = Rule(
    Class.REVOKED,
    "Instagram has not granted the permission to publish",
    f"{_RECONNECT} and grant every permission it asks for",
    permission=True,
)
_LOGIN = Rule(Class.AUTH_EXPIRED, "the Instagram access token is not accepted", _RECONNECT)
_WITHDRAWN = Rule(Class.REVOKED, "the creator removed our app from Instagram", _RECONNECT)
_CHECKPOINT = Rule(
    Class.REVOKED,
    "Instagram asks the creator to confirm the account",
    f"open Instagram, finish what it asks there, then {_RECONNECT}",
)
_IMAGE = Rule(Class.REJECTED, "Instagram does not take the picture", "choose another cover")

API_CODES: Mapping[tuple[int, int | None], Rule] = {
    (-2, 2207003): _FETCH,
    (-2, 2207020): Rule(Class.HANDLE_DEAD, "the Instagram container has expired"),
    (-1, None): _FAULT,
    (-1, 2207001): _FAULT,
    (-1, 2207032): _MAYBE_AGAIN,
    (-1, 2207053): _MAYBE_AGAIN,
    (1, None): _FAULT,
    (1, 2207057): Rule(
        Class.REJECTED,
        "the thumbnail's instant lies outside the video",
        "set options.instagram.thumbOffsetMs within the video's duration",
        refusal=False,
    ),
    (2, None): _FAULT,
    (3, None): _NO_PERMISSION,
    (4, None): _THROTTLED,
    (4, 2207051): Rule(
        Class.REJECTED,
        "Instagram takes the post for spam",
        "change the post, or post it by hand in the Instagram app",
    ),
    (9, 2207042): Rule(
        Class.THROTTLED,
        "the account has reached Instagram's daily number of posts",
        "wait until posts of the last 24 hours have aged",
        wait=_TEN_MINUTES,
    ),
    (10, None): _NO_PERMISSION,
    (17, None): _THROTTLED,
    (24, 2207006): Rule(Class.HANDLE_DEAD, "Instagram does not know the media", refusal=False),
    (24, 2207008): Rule(
        Class.HANDLE_DEAD,
        "Instagram does not know the container, or it has expired",
        refusal=False,
    ),
    (25, 2207050): Rule(
        Class.REJECTED,
        "Instagram has restricted the account",
        "open the Instagram app and settle the restriction there",
    ),
    (32, None): _THROTTLED,
    (100, None): Rule(
        Class.REJECTED, "Instagram refused a value of the post", "correct what Instagram names"
    ),
    (100, 33): Rule(Class.HANDLE_DEAD, "Instagram does not know the object", refusal=False),
    (100, 2207023): Rule(Class.REJECTED, "Instagram does not know the media type"),
    (100, 2207028): Rule(Class.REJECTED, "the carousel has too few or too many parts"),
    (100, 2207040): Rule(
        Class.REJECTED,
        "the caption has too many tags",
        "use at most 30 hashtags and 20 mentions",
    ),
    (102, None): _LOGIN,
    (190, None): _LOGIN,
    (190, 458): _WITHDRAWN,
    (190, 459): _CHECKPOINT,
    (190, 460): Rule(Class.EXPIRED, "the creator changed the password", _RECONNECT),
    (190, 463): _LOGIN,
    (190, 467): _LOGIN,
    **{(code, None): _NO_PERMISSION for code in range(200, 300)},
    (341, None): _THROTTLED,
    (352, 2207026): Rule(Class.REJECTED, "Instagram does not take the video's format", _NEW_FILE),
    (368, None): Rule(
        Class.REJECTED,
        "Instagram blocks the account for a breach of its rules",
        "open the Instagram app and settle the block there",
    ),
    # A duplicate may be our own first attempt: on a commit the platform is asked before it is believed.
    (506, None): Rule(
        Class.REJECTED, "Instagram takes the post for a duplicate", "change the post", refusal=False
    ),
    (613, None): _THROTTLED,
    (80002, None): _THROTTLED,
    (9004, 2207052): _FETCH,
    (9007, 2207027): Rule(
        Class.TRANSIENT, "Instagram is not ready to publish the reel yet", wait=_MINUTE
    ),
    (36000, 2207004): _IMAGE,
    (36001, 2207005): _IMAGE,
    (36003, 2207009): _IMAGE,
    (36004, 2207010): Rule(
        Class.REJECTED, "the caption is too long", "shorten it to 2,200 characters"
    ),
    # Seen in public code, not on Meta's pages.
    (-1, 2207082): _MAYBE_AGAIN,
    (-1, 2207077): _MAYBE_AGAIN,
    (100, 2207081): Rule(Class.REJECTED, "the account cannot publish trial reels"),
}

_BY_SUBCODE: Mapping[int, Rule] = {
    subcode: rule for (_, subcode), rule in API_CODES.items() if subcode is not None
}
_SUBCODE = re.compile(r"\b(2207\d{3})\b")


def classify(
    status: int,
    code: int | None,
    subcode: int | None = None,
    *,
    can_publish: bool = False,
    words: object = "",
    request_id: str | None = None,
    retry_after: timedelta | None = None,
) -> PlatformError:
    """Return what an error of the Graph API means."""
    name = f"http_{status}" if code is None else str(code)
    rule = None
    if code is not None:
        rule = API_CODES.get((code, subcode))
        if subcode is not None:
            name = f"{code}/{subcode}"
            # An undocumented subcode says less than its code does; 1, 2, -1 stay unknown.
            rule = rule or _BY_SUBCODE.get(subcode)
        rule = rule or API_CODES.get((code, None))
    if rule is None or (status >= 500 and rule.refusal):
        rule = undocumented(status)
    return rule.error(
        name,
        can_publish=can_publish,
        words=spoken(words),
        request_id=request_id,
        retry_after=retry_after,
    )


def classify_container(status_text: str) -> PlatformError:
    """Return what a container's ERROR means, from the subcode in its `status` text."""
    found = _SUBCODE.search(status_text)
    if found is None:
        return _AGAIN.error("container_error", can_publish=False, words=spoken(status_text))
    subcode = int(found[1])
    rule = _BY_SUBCODE.get(subcode) or _AGAIN
    if rule.verdict not in {Class.REJECTED, Class.HANDLE_DEAD}:
        # The container is terminal whatever the reason was: only a new one can go on.
        rule = _AGAIN
    return rule.error(f"container/{subcode}", can_publish=False, words=spoken(status_text))


def classify_refresh(
    status: int, code: int | None, subcode: int | None, words: object
) -> PlatformError:
    """Return what a refused renewal means: an expired token cannot be renewed, only made anew."""
    if code in {102, 190}:
        rule = API_CODES.get((code, subcode)) or _LOGIN
        if rule.verdict is Class.AUTH_EXPIRED:
            rule = Rule(Class.EXPIRED, "the Instagram connection has ended", _RECONNECT)
    elif code == 10:
        rule = _NO_PERMISSION
    else:
        rule = Rule(
            Class.TRANSIENT,
            "Instagram gave no new token",
            "a token can be renewed when it is 24 hours old",
            unhealthy=status >= 500,
            wait=_HOUR if status < 500 else None,
        )
    name = f"http_{status}" if code is None else str(code)
    return rule.error(
        f"{name}/{subcode}" if subcode else name, can_publish=False, words=spoken(words)
    )
