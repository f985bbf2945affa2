"""How many attempts and accounts there may be, also when all come at once."""

from concurrent.futures import ThreadPoolExecutor

import httpx

from minitik_dagster.db.types import Platform, SubscriptionTier
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.settings import Settings
from tests.api.connections.connecting import connect, flows, initiate, refused, sandbox_account
from tests.api.consent import decide
from tests.api.scene import Person, Scene


def test_five_attempts_a_minute_and_user_without_any_redis(api: httpx.Client, scene: Scene) -> None:
    """The sixth is told how long to wait; another user is not concerned."""
    eager, calm = scene.person(), scene.person()
    scene.run(
        "INSERT INTO attempts (kind, client, \"windowStart\", used) VALUES ('connect', :id, "
        "date_bin('1 minute', statement_timestamp() AT TIME ZONE 'UTC', TIMESTAMP '2000-01-01'), 5)"
        ", ('connect', :id, date_bin('1 minute', statement_timestamp() AT TIME ZONE 'UTC', "
        "TIMESTAMP '2000-01-01') + interval '1 minute', 5)",
        id=eager.id,
    )
    answer = api.post("/api/accounts/initiate", json={"provider": "tiktok"}, headers=eager.headers)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.json()["type"] == "/problems/throttled"
    initiate(api, calm, Platform.TIKTOK)


def test_a_hundred_returns_with_one_state_have_one_winner(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """The code is sent to the platform once."""
    back = decide(initiate(api, person, Platform.TIKTOK)["authorizationUrl"])
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: api.get(back.path), range(100)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(422)) == (1, 99)
    for answer in answers:
        if answer.status_code == 422:
            refused(answer, "state_used")
    assert len([c for c in sandbox.calls() if c["operation"] == "token"]) == 1
    assert len(scene.rows("SELECT id FROM accounts")) == 1


def test_two_returns_at_once_for_one_account_make_one_row(
    api: httpx.Client, scene: Scene, settings: Settings, person: Person, sandbox: SandboxServer
) -> None:
    """Both succeed; the version tells that both tokens were stored, one after the other."""
    known = sandbox_account(sandbox, Platform.YOUTUBE)
    urls = flows(scene, settings, person, Platform.YOUTUBE, 6)
    backs = [decide(url, account=known) for url in urls]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda back: api.get(back.path), backs))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert sum(answer.json()["created"] for answer in answers) == 1
    [row] = scene.rows('SELECT "tokenVersion" FROM accounts')
    assert row["tokenVersion"] == 6


def test_the_limit_of_a_tier_holds_when_all_return_at_once(
    api: httpx.Client, scene: Scene, settings: Settings
) -> None:
    """FREE has five places: with three taken, two of eight get one."""
    person = scene.person(tier=SubscriptionTier.FREE)
    for _ in range(3):
        scene.account(person, Platform.INSTAGRAM)
    backs = [decide(url) for url in flows(scene, settings, person, Platform.YOUTUBE, 8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda back: api.get(back.path), backs))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(422)) == (2, 6)
    for answer in answers:
        if answer.status_code == 422:
            assert "limit of tier FREE is 5" in answer.json()["detail"]
    assert len(scene.rows("SELECT id FROM accounts")) == 5


def test_a_full_tier_may_reconnect_and_a_disconnected_account_takes_no_place(
    api: httpx.Client, scene: Scene, sandbox: SandboxServer
) -> None:
    """Connecting an existing one again is no new one, unless it had been disconnected."""
    person = scene.person(tier=SubscriptionTier.FREE)
    known = sandbox_account(sandbox, Platform.TIKTOK)
    mine = connect(api, person, Platform.TIKTOK, known)["account"]["id"]
    others = [scene.account(person, Platform.INSTAGRAM) for _ in range(4)]
    body = {"provider": "tiktok"}
    full = api.post("/api/accounts/initiate", json=body, headers=person.headers)
    assert full.status_code == 422
    assert "accountId" in full.json()["errors"][0]["fix"]
    assert not connect(api, person, Platform.TIKTOK, known, accountId=mine)["created"]
    scene.run(
        'UPDATE accounts SET "disconnectedAt" = "connectedAt", status = \'REVOKED\' WHERE id = :id',
        id=others[0],
    )
    initiate(api, person, Platform.TIKTOK)
    scene.run('UPDATE accounts SET "disconnectedAt" = NULL WHERE id = :id', id=others[0])
    scene.run('UPDATE accounts SET "disconnectedAt" = "connectedAt" WHERE id = :id', id=mine)
    scene.account(person, Platform.INSTAGRAM)
    back = api.post(
        "/api/accounts/initiate", json={**body, "accountId": mine}, headers=person.headers
    )
    assert back.status_code == 422
