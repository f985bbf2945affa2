"""`/api/scheduling` over HTTP against a real PostgreSQL: what is stored is what was asked."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import psycopg

from minitik_dagster.db.engine import libpq_url
from minitik_dagster.db.types import Platform, SubscriptionTier
from minitik_dagster.scheduling.lead import lead_time
from tests.api.scene import VERTICAL, Person, Scene

MILLISECOND = timedelta(milliseconds=1)  # what the adopted schema's timestamps hold


def _body(content: str, *accounts: str, at: str, **more: object) -> dict[str, object]:
    return {"contentId": content, "accountIds": list(accounts), "scheduledAt": at, **more}


def test_a_wall_time_becomes_one_utc_instant_and_one_row_per_account(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """All three platforms in one transaction, each with its own preparation time and options."""
    content = scene.content(person, title="Title", description="Words #tag")
    accounts = [scene.account(person, platform) for platform in Platform]
    due = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    wall = due.astimezone(ZoneInfo("Asia/Kathmandu")).strftime("%Y-%m-%dT%H:%M:%S")

    answer = api.post(
        "/api/scheduling",
        headers=person.headers,
        json=_body(
            content,
            *accounts,
            at=wall,
            timezone="Asia/Kathmandu",
            priority="HIGH",
            maxLateness=900,
            options={"youtube": {"title": "Other"}, "accounts": {accounts[1]: {"caption": "Mine"}}},
        ),
    )

    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert told["scheduledAt"] == due.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert told["localTime"] == f"{wall}+05:45"
    assert told["timezone"] == "Asia/Kathmandu"
    assert (told["priority"], told["status"]) == ("HIGH", "PENDING")
    assert [item["accountId"] for item in told["publications"]] == accounts
    rows = {row["platform"]: row for row in scene.rows("SELECT * FROM publications")}
    for platform in Platform:
        row = rows[platform.value]
        assert row["dueAt"] == due.replace(tzinfo=None)
        assert (
            abs(row["dueAt"] - row["prepareAt"] - lead_time(platform, VERTICAL.size)) <= MILLISECOND
        )
        assert (row["stage"], row["status"], row["priority"]) == ("scheduled", "QUEUED", "HIGH")
        assert (row["revision"], row["attempts"], row["leaseToken"]) == (0, 0, 0)
        assert row["maxLateness"] == 900
        assert row["scheduledJobId"] == told["scheduledJobId"]
    assert rows["TIKTOK"]["options"]["privacy"] == "SELF_ONLY"
    assert rows["TIKTOK"]["options"]["caption"] == "Words #tag"
    assert rows["INSTAGRAM"]["options"]["caption"] == "Mine"
    assert rows["INSTAGRAM"]["options"]["shareToFeed"] is True
    assert rows["YOUTUBE"]["options"]["title"] == "Other"
    stored = scene.rows('SELECT status, "scheduledAt" FROM contents WHERE id = :id', id=content)
    assert stored == [{"status": "SCHEDULED", "scheduledAt": due.replace(tzinfo=None)}]

    read = api.get(f"/api/scheduling/{told['scheduledJobId']}", headers=person.headers).json()
    assert read == told | {"warnings": []}
    alias = api.get(f"/api/scheduling/jobs/{told['scheduledJobId']}", headers=person.headers)
    assert alias.json() == read
    page = api.get("/api/scheduling?status=PENDING", headers=person.headers).json()
    assert (page["total"], page["items"]) == (1, [read])


def test_publish_now_is_a_job_that_is_due_at_the_databases_present(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """202, and the due instant is PostgreSQL's own, neither the server's zone nor the client's."""
    content, account = scene.content(person), scene.account(person)
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    answer = api.post(
        "/api/publishing",
        headers=person.headers,
        json={"contentId": content, "accountIds": [account]},
    )
    assert answer.status_code == 202, answer.text
    due = datetime.fromisoformat(answer.json()["scheduledAt"])
    assert before <= due <= datetime.now(UTC)
    rows = scene.rows("SELECT count(*) AS jobs FROM scheduled_jobs")
    assert rows == [{"jobs": 1}]


def test_a_post_that_is_due_soon_wakes_a_listening_dispatcher_and_a_later_one_does_not(
    api: httpx.Client, scene: Scene, person: Person, database_url: str, tomorrow: str
) -> None:
    """NOTIFY is sent with the commit, off the path of what is far ahead."""
    account = scene.account(person)
    with psycopg.connect(libpq_url(database_url), autocommit=True) as listener:
        listener.execute("LISTEN minitik_due")
        later = _body(scene.content(person), account, at=tomorrow)
        assert api.post("/api/scheduling", headers=person.headers, json=later).status_code == 201
        soon = {"contentId": scene.content(person), "accountIds": [account]}
        assert api.post("/api/publishing", headers=person.headers, json=soon).status_code == 202
        heard = list(listener.notifies(timeout=10, stop_after=1))
        assert len(heard) == 1
        assert list(listener.notifies(timeout=0.3)) == []


def test_a_cancelled_job_is_told_as_cancelled_and_taken_from_its_dispatcher(
    api: httpx.Client, scene: Scene, person: Person, tomorrow: str
) -> None:
    """FAILED + errorCode cancelled for old readers; the lease ends, so nothing old can be committed."""
    content, account = scene.content(person), scene.account(person)
    job = _scheduled(api, person, _body(content, account, at=tomorrow))
    scene.run(
        "UPDATE publications SET stage = 'prepared', status = 'PUBLISHING', \"leaseOwner\" = 'd', "
        '"leaseToken" = 7, "leaseExpiresAt" = \'2100-01-01\''
    )
    answer = api.delete(f"/api/scheduling/{job}", headers=person.headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "CANCELLED"
    [row] = scene.rows("SELECT * FROM publications")
    assert (row["stage"], row["status"], row["errorCode"]) == ("cancelled", "FAILED", "cancelled")
    assert (row["leaseOwner"], row["leaseToken"], row["revision"]) == (None, 8, 1)
    [stored] = scene.rows('SELECT status, "scheduledAt" FROM contents')
    assert stored == {"status": "DRAFT", "scheduledAt": None}
    again = api.delete(f"/api/scheduling/{job}", headers=person.headers)
    assert (again.status_code, again.json()["state"]) == (409, "cancelled")


def test_a_moved_job_has_its_new_instant_everywhere_and_a_new_revision(
    api: httpx.Client, scene: Scene, person: Person, tomorrow: str
) -> None:
    """The old preparation cannot be committed at the new instant (engine.md R6)."""
    account = scene.account(person)
    job = _scheduled(api, person, _body(scene.content(person), account, at=tomorrow))
    scene.run("UPDATE publications SET stage = 'prepared', status = 'PUBLISHING'")
    new = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    answer = api.patch(
        f"/api/scheduling/{job}",
        headers=person.headers,
        json={
            "scheduledAt": new.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "options": {"instagram": {"caption": "N"}},
        },
    )
    assert answer.status_code == 200, answer.text
    [row] = scene.rows("SELECT * FROM publications")
    assert row["dueAt"] == new.replace(tzinfo=None)
    assert (
        abs(row["dueAt"] - row["prepareAt"] - lead_time(Platform.INSTAGRAM, VERTICAL.size))
        <= MILLISECOND
    )
    assert (row["stage"], row["status"], row["revision"]) == ("scheduled", "QUEUED", 1)
    assert row["options"]["caption"] == "N"
    [stored] = scene.rows('SELECT "scheduledAt" FROM contents')
    assert stored["scheduledAt"] == new.replace(tzinfo=None)


def test_a_post_with_an_open_commit_is_being_sent_and_cannot_be_changed(
    api: httpx.Client, scene: Scene, person: Person, tomorrow: str
) -> None:
    """409 with the truth, for all of the job; not a row changes."""
    job = _scheduled(api, person, _body(scene.content(person), scene.account(person), at=tomorrow))
    scene.run("UPDATE publications SET stage = 'committing', status = 'PUBLISHING'")
    scene.run(
        'INSERT INTO publication_steps (id, "publicationId", "accountId", platform, name, '
        'attempt, "canPublish", "leaseToken", revision, "startedAt", "policyVersion") '
        "SELECT 's', id, \"accountId\", platform, 'commit', 1, true, 0, 0, \"dueAt\", 'x' "
        "FROM publications"
    )
    before = scene.fingerprint()
    for answer in (
        api.delete(f"/api/scheduling/{job}", headers=person.headers),
        api.patch(f"/api/scheduling/{job}", headers=person.headers, json={"priority": "LOW"}),
    ):
        assert answer.status_code == 409
        assert answer.json()["state"] == "committing"
        assert "being sent" in answer.json()["detail"]
    assert scene.fingerprint() == before


def test_the_same_content_on_the_same_account_twice_needs_allow_duplicate(
    api: httpx.Client, scene: Scene, person: Person, tomorrow: str
) -> None:
    body = _body(scene.content(person), scene.account(person), at=tomorrow)
    _scheduled(api, person, body)
    before = scene.fingerprint()
    refused = api.post("/api/scheduling", headers=person.headers, json=body)
    assert refused.status_code == 422
    assert "allowDuplicate" in refused.json()["errors"][0]["fix"]
    assert scene.fingerprint() == before
    _scheduled(api, person, body | {"allowDuplicate": True})


def test_a_tier_limits_how_many_posts_may_wait(
    api: httpx.Client, scene: Scene, tomorrow: str
) -> None:
    """A FREE user's sixth waiting job is refused, and there is room again after a cancellation."""
    person = scene.person(tier=SubscriptionTier.FREE)
    account = scene.account(person)
    jobs = [
        _scheduled(api, person, _body(scene.content(person), account, at=tomorrow))
        for _ in range(5)
    ]
    sixth = _body(scene.content(person), account, at=tomorrow)
    refused = api.post("/api/scheduling", headers=person.headers, json=sixth)
    assert refused.status_code == 422
    assert "limit of tier FREE is 5" in refused.json()["detail"]
    api.delete(f"/api/scheduling/{jobs[0]}", headers=person.headers)
    _scheduled(api, person, sixth)


def _scheduled(api: httpx.Client, person: Person, body: dict[str, object]) -> str:
    answer = api.post("/api/scheduling", headers=person.headers, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["scheduledJobId"])


def test_the_wall_time_that_was_asked_for_is_stored_and_a_zone_that_changed_since_is_told(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """Were a zone's law to change after scheduling, instant and wall time would no longer agree."""
    due = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0, tzinfo=None)
    body = _body(
        scene.content(person),
        scene.account(person),
        at=due.isoformat(),
        timezone="Asia/Kathmandu",
    )
    made = api.post("/api/scheduling", headers=person.headers, json=body).json()
    path = f"/api/scheduling/{made['scheduledJobId']}"
    stored = scene.rows('SELECT timezone, "scheduledAt", "localTime" FROM scheduled_jobs')
    asked = f"{due.isoformat()}+05:45"
    kathmandu = timedelta(hours=5, minutes=45)
    assert stored == [
        {"timezone": "Asia/Kathmandu", "scheduledAt": due - kathmandu, "localTime": asked}
    ]
    # As if the offset had been +05:30 when it was asked for.
    other = f"{due.isoformat()}+05:30"
    scene.run('UPDATE scheduled_jobs SET "localTime" = :other', other=other)
    read = api.get(path, headers=person.headers).json()
    assert read["localTime"] == other
    [warning] = read["warnings"]
    assert warning["field"] == "scheduledAt"
    assert other in warning["message"]
    assert asked in warning["message"]
    moved = api.patch(
        path,
        headers=person.headers,
        json={"scheduledAt": due.isoformat(), "timezone": "Asia/Kathmandu"},
    ).json()
    assert (moved["localTime"], moved["warnings"]) == (asked, [])
