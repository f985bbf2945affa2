"""`POST /api/scheduling/bulk`: each row has its own result, and the same file changes nothing again."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from minitik_dagster.db.types import Platform, SubscriptionTier
from tests.api.scene import Person, Scene

PATH = "/api/scheduling/bulk"
CSV = {"Content-Type": "text/csv"}
Answer = dict[str, Any]


@pytest.fixture
def account(scene: Scene, person: Person) -> str:
    """An account of the person's."""
    return scene.account(person)


@pytest.fixture
def post(scene: Scene, person: Person, account: str) -> Callable[..., dict[str, Any]]:
    """Makes one post of a new content, so many days ahead."""

    def make(days: int = 2, **more: object) -> dict[str, Any]:
        due = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
        return {
            "contentId": scene.content(person),
            "accountIds": [account],
            "scheduledAt": due.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "options": {"tiktok": {"caption": f"number {days}"}},
            "allowDuplicate": True,
            **more,
        }

    return make


def _send(api: httpx.Client, person: Person, posts: list[Any], query: str = "") -> Answer:
    answer = api.post(PATH + query, headers=person.headers, json={"posts": posts})
    assert answer.status_code == 207, answer.text
    told: Answer = answer.json()
    return told


def _csv(api: httpx.Client, person: Person, text: str | bytes) -> httpx.Response:
    return api.post(PATH, headers=person.headers | CSV, content=text)


def _jobs(scene: Scene) -> list[dict[str, Any]]:
    return list(scene.rows('SELECT id, status::text AS status FROM scheduled_jobs ORDER BY "id"'))


def test_each_row_is_answered_as_the_post_alone_would_be(
    api: httpx.Client, scene: Scene, person: Person, post: Callable[..., dict[str, Any]]
) -> None:
    """Two good rows stand between bad ones of each kind; the bad ones change nothing."""
    good, other = post(), post(3)
    stranger = scene.person()
    rows = [
        good,
        post(scheduledAt="2020-01-01T00:00:00Z"),
        post(colour="red"),
        "a post",
        post(contentId=scene.content(stranger), accountIds=[scene.account(stranger)]),
        post(accountIds=[scene.account(person, Platform.YOUTUBE)], options={"youtube": {"x": 1}}),
        other,
    ]
    told = _send(api, person, rows)
    statuses = [one["status"] for one in told["results"]]
    assert statuses == [201, 400, 400, 400, 404, 400, 201]
    assert (told["scheduled"], told["unchanged"], told["failed"]) == (2, 0, 5)
    assert {one["id"] for one in _jobs(scene)} == {
        one["scheduledJobId"] for one in told["results"] if one["status"] == 201
    }
    for place, row in enumerate(rows):
        if told["results"][place]["status"] == 201 or not isinstance(row, dict):
            continue
        alone = api.post("/api/scheduling", headers=person.headers, json=row).json()
        problem = told["results"][place]["problem"]
        for member in ("type", "status", "title"):
            assert problem[member] == alone[member]
        assert [one["field"] for one in problem["errors"]] == [
            one["field"] for one in alone["errors"]
        ]


def test_sent_again_it_changes_nothing(
    api: httpx.Client, scene: Scene, person: Person, post: Callable[..., dict[str, Any]]
) -> None:
    """Also with the accounts in another order, and for a row that stands in it twice."""
    two = post(accountIds=[scene.account(person), scene.account(person, Platform.YOUTUBE)])
    two["options"] = {}
    rows = [two, post(3), post(3)]
    rows.append(rows[1])
    first = _send(api, person, rows)
    assert [one["status"] for one in first["results"]] == [201, 201, 201, 200]
    before = scene.fingerprint()
    rows[0] = two | {"accountIds": list(reversed(two["accountIds"]))}
    again = _send(api, person, rows)
    assert (again["scheduled"], again["unchanged"], again["failed"]) == (0, 4, 0)
    assert [one["scheduledJobId"] for one in again["results"]] == [
        one["scheduledJobId"] for one in first["results"]
    ]
    assert scene.fingerprint() == before


def test_what_was_cancelled_is_not_brought_back(
    api: httpx.Client, scene: Scene, person: Person, post: Callable[..., dict[str, Any]]
) -> None:
    row = post()
    [made] = _send(api, person, [row])["results"]
    api.delete(f"/api/scheduling/{made['scheduledJobId']}", headers=person.headers)
    before = scene.fingerprint()
    [told] = _send(api, person, [row])["results"]
    assert (told["status"], told["problem"]["state"]) == (409, "CANCELLED")
    assert made["scheduledJobId"] in told["problem"]["detail"]
    assert scene.fingerprint() == before
    # By hand it may be; then the file finds it scheduled.
    anew = api.post("/api/scheduling", headers=person.headers, json=row).json()
    [found] = _send(api, person, [row])["results"]
    assert (found["status"], found["scheduledJobId"]) == (200, anew["scheduledJobId"])


def test_a_dry_run_tells_the_same_and_leaves_no_trace(api: httpx.Client, scene: Scene) -> None:
    """A FREE user's sixth post is refused in it too: a row sees what the rows before it take up."""
    person = scene.person(tier=SubscriptionTier.FREE)
    account = scene.account(person)
    due = datetime.now(UTC) + timedelta(days=2)
    rows = [
        {
            "contentId": scene.content(person),
            "accountIds": [account],
            "scheduledAt": (due + timedelta(hours=hour)).isoformat(),
            "allowDuplicate": True,
        }
        for hour in range(6)
    ]
    before = scene.fingerprint()
    dry = _send(api, person, rows, "?dryRun=true")
    assert dry["dryRun"] is True
    assert [one["status"] for one in dry["results"]] == [201] * 5 + [422]
    assert not any(one["scheduledJobId"] for one in dry["results"])
    assert scene.fingerprint() == before
    real = _send(api, person, rows)
    assert [one["status"] for one in real["results"]] == [201] * 5 + [422]
    assert _send(api, person, rows, "?dryRun=true")["unchanged"] == 5


def test_a_csv_file_is_the_same_posts(
    api: httpx.Client, scene: Scene, person: Person, account: str
) -> None:
    """With a byte order mark, CRLF, a quoted caption of two lines, blank lines and empty cells."""
    first, second = scene.content(person), scene.content(person)
    youtube = scene.account(person, Platform.YOUTUBE)
    day = (datetime.now(UTC) + timedelta(days=5)).strftime("%Y-%m-%d")
    text = (
        "\ufeffcontentId,accountIds,scheduledAt,timezone,priority,caption,tiktokPrivacy\r\n"
        f'{first},{account} ; {youtube},{day}T18:00:00,Asia/Kathmandu,HIGH,"Two\nlines, ""so""",\r\n'
        "\r\n"
        f"{second},{account},{day}T18:00:00Z,,,,SELF_ONLY\r\n"
        f"{second},{account},{day}T99:00:00Z,,,,\r\n"
        f"{second},{account}\r\n"
    )
    answer = _csv(api, person, text.encode())
    assert answer.status_code == 207, answer.text
    results = answer.json()["results"]
    assert [(one["line"], one["status"]) for one in results] == [
        (2, 201), (5, 201), (6, 400), (7, 400),
    ]  # fmt: skip
    job = api.get(f"/api/scheduling/{results[0]['scheduledJobId']}", headers=person.headers).json()
    assert (job["timezone"], job["priority"]) == ("Asia/Kathmandu", "HIGH")
    assert job["localTime"] == f"{day}T18:00:00+05:45"
    captions = scene.rows(
        "SELECT DISTINCT options->>'caption' AS caption FROM publications WHERE \"contentId\" = :id",
        id=first,
    )
    assert captions == [{"caption": 'Two\nlines, "so"'}]
    before = scene.fingerprint()
    again = _csv(api, person, text.encode()).json()
    assert (again["unchanged"], again["scheduled"]) == (2, 0)
    assert scene.fingerprint() == before


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "body"),
        (b"contentId,accountIds,scheduledAt\n", "body"),
        (b"contentId,accountIds\nc,a\n", "scheduledAt"),
        (b"contentId,accountIds,scheduledAt,color\nc,a,t,red\n", "color"),
        (b"contentId,accountIds,scheduledAt,contentId\nc,a,t,c\n", "contentId"),
        (b'contentId,accountIds,scheduledAt\n"c,a,t\n', "body"),
        (b"contentId,accountIds,scheduledAt\n\xff,a,t\n", "body"),
        (b"contentId,accountIds,scheduledAt\n" + b"c,a,t\n" * 21, "body"),
    ],
    ids=["empty", "no row", "no time", "unknown", "twice", "open quote", "not utf-8", "21 rows"],
)
def test_a_file_that_is_none_is_refused_as_a_whole(
    api: httpx.Client, scene: Scene, person: Person, data: bytes, field: str
) -> None:
    before = scene.fingerprint()
    answer = _csv(api, person, data)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert scene.fingerprint() == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"\xff\xfe", "body"),
        (b"[]", "body"),
        (b"{}", "posts"),
        (b'{"posts": []}', "posts"),
        (b'{"posts": {}}', "posts"),
        (b'{"posts": [1], "more": 1}', "more"),
        (b'{"posts": [' + b",".join([b"1"] * 21) + b"]}", "posts"),
    ],
)
def test_a_body_that_is_no_list_of_posts_is_refused(
    api: httpx.Client, person: Person, body: bytes, field: str
) -> None:
    headers = person.headers | {"Content-Type": "application/json"}
    answer = api.post(PATH, headers=headers, content=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"] == field
    other = api.post(PATH, headers=person.headers | {"Content-Type": "text/html"}, content=body)
    assert (other.status_code, other.json()["errors"][0]["field"]) == (400, "Content-Type")


def test_an_idempotency_key_answers_the_same_even_after_a_change(
    api: httpx.Client, scene: Scene, person: Person, post: Callable[..., dict[str, Any]]
) -> None:
    """The refused row is not judged anew, and the cancelled one not either."""
    rows = [post(), post(contentId="c0")]
    headers = person.headers | {"Idempotency-Key": "file-1"}
    first = api.post(PATH, headers=headers, json={"posts": rows})
    job = first.json()["results"][0]["scheduledJobId"]
    api.delete(f"/api/scheduling/{job}", headers=person.headers)
    again = api.post(PATH, headers=headers, json={"posts": rows})
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = api.post(PATH, headers=headers, json={"posts": rows[:1]})
    assert other.status_code == 422


def test_the_same_file_from_many_hands_at_once_schedules_each_post_once(
    api: httpx.Client, scene: Scene, person: Person, post: Callable[..., dict[str, Any]]
) -> None:
    rows = [post(), post(3), post(4)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: _send(api, person, rows), range(8)))
    assert sum(one["scheduled"] for one in told) == 3
    assert sum(one["unchanged"] for one in told) == 21
    assert len(_jobs(scene)) == 3
