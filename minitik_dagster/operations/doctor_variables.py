"""The environment under examination: each variable, the keys' format, the addresses we hand out."""

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from minitik_dagster.notifications.alert_post import is_understood
from minitik_dagster.notifications.web_push import public_key_of
from minitik_dagster.operations.findings import Finding, green, red, yellow
from minitik_dagster.settings import Settings

# Without these something does not work; what that is, and what sets it right.
_NEEDED: Final[Mapping[str, tuple[str, str]]] = {
    "database_url": ("nothing works without PostgreSQL", "set DATABASE_URL"),
    "encryption_key": (
        "no token can be read or stored",
        "set the key that sealed the tokens; of a new system: openssl rand -hex 32",
    ),
    "aws_s3_bucket": ("no video can be stored or sent", "set AWS_S3_BUCKET"),
}
_WANTED: Final[Mapping[str, tuple[str, str]]] = {
    "redis_url": ("breakers and limits count per process only", "set REDIS_URL"),
    "mongodb_uri": ("there are no analytics", "set MONGODB_URI"),
    "dagster_postgres_url": (
        "Dagster has no storage",
        "set DAGSTER_POSTGRES_URL, another database",
    ),
    "dagster_home": ("Dagster's programs find no dagster.yaml", "set DAGSTER_HOME"),
    "nextauth_secret": ("browsers carry nothing that is signed", "openssl rand -base64 32"),
}
_LIVE: Final[Mapping[str, tuple[str, str]]] = {
    "minitik_alert_urls": ("nobody is told of alerts", "set MINITIK_ALERT_URLS"),
    "admin_emails": ("nobody is an admin", "set ADMIN_EMAILS to the operators' addresses"),
    "resend_api_key": ("people get no e-mail", "set RESEND_API_KEY and EMAIL_FROM"),
    "email_from": ("people get no e-mail", "set RESEND_API_KEY and EMAIL_FROM"),
}
_PAIRS: Final = (
    ("tiktok_client_id", "tiktok_client_secret", "TikTok"),
    ("instagram_client_id", "instagram_client_secret", "Instagram"),
    ("google_client_id", "google_client_secret", "YouTube"),
)
_VAPID: Final = ("vapid_public_key", "vapid_private_key", "vapid_subject")
PROVIDERS: Final = ("tiktok", "instagram", "youtube")


def variables(settings: Settings | None, problems: Mapping[str, str]) -> Iterator[Finding]:
    """Tell each variable with a problem, each that is missed, and how many are fit."""
    for name, text in problems.items():
        check = f"variable {name}" if name else "variables"
        yield red(check, text.removeprefix(f"{name}: "), "docs/settings.md has its form")
    if settings is None:
        return
    unfit = {name.split(".")[0].lower() for name in problems}
    live = settings.platform_world == "live"
    for table, make in ((_NEEDED, red), (_WANTED, yellow), (_LIVE if live else {}, yellow)):
        for name, (loss, fix) in table.items():
            if name not in unfit and not getattr(settings, name):
                yield make(f"variable {name.upper()}", f"is not set: {loss}", fix)
    for first, second, platform in _PAIRS:
        given = [bool(getattr(settings, name)) for name in (first, second)]
        if not all(given):
            missing = " and ".join(
                name.upper()
                for name, is_set in zip((first, second), given, strict=True)
                if not is_set
            )
            detail = f"{missing} not set: no {platform} account can be connected or renewed"
            yield yellow(
                f"variable {first.upper()}", detail, "set both, from the platform's console"
            )
    yield from _vapid(settings)
    yield from _alert_targets(settings)
    fit = sum(name not in unfit for name in Settings.model_fields)
    yield green("variables", f"{fit} of {len(Settings.model_fields)} variables can be read")


def _vapid(settings: Settings) -> Iterator[Finding]:
    """Whether the three variables of web push are there together, and are a pair."""
    given = {name: getattr(settings, name) for name in _VAPID}
    if not any(given.values()):
        return
    missing = [name.upper() for name, value in given.items() if not value]
    if missing:
        detail = f"{' and '.join(missing)} not set: nothing is pushed to browsers"
        yield yellow("web push", detail, "set all three, or none; minitik keys vapid makes a pair")
        return
    private = settings.vapid_private_key
    assert private is not None
    try:
        fits = public_key_of(private.get_secret_value()) == (
            settings.vapid_public_key or ""
        ).rstrip("=")
    except ValueError:
        fits = False
    if fits:
        yield green("web push", "the VAPID keys are a pair")
    else:
        yield red(
            "web push",
            "VAPID_PUBLIC_KEY is not that of VAPID_PRIVATE_KEY: push services refuse every message",
            "set the pair that browsers subscribed with; of a new system: minitik keys vapid",
        )


def _alert_targets(settings: Settings) -> Iterator[Finding]:
    """Whether each address of MINITIK_ALERT_URLS is one that can be sent to; told by their numbers."""
    given = settings.alert_urls()
    unknown = [number for number, url in enumerate(given, start=1) if not is_understood(url)]
    if unknown:
        yield red(
            "alert targets",
            f"no notification service has the form of number {', '.join(map(str, unknown))} of "
            f"{len(given)} in MINITIK_ALERT_URLS: nothing is sent there",
            "correct it: Apprise URLs, separated by spaces",
        )
    elif given:
        yield green("alert targets", f"{len(given)} of a known form; nothing was sent")


def keys(settings: Settings) -> Iterator[Finding]:
    """Look at the keys' format; whether they open what is stored is asked of the database."""
    if settings.encryption_key is None:
        return
    given = settings.encryption_keys()
    if len(set(given)) < len(given):
        yield yellow(
            "encryption key", "a key is named twice", "take it out of ENCRYPTION_KEY_PREVIOUS"
        )
    previous = len(given) - 1
    more = f", and {previous} previous" if previous else ""
    yield green("encryption key", f"32 bytes{more}")
    for name in ("nextauth_secret",):
        value = getattr(settings, name)
        if isinstance(value, SecretStr) and len(value.get_secret_value()) < 32:
            yield yellow(
                f"variable {name.upper()}",
                "is shorter than 32 characters",
                "openssl rand -base64 32",
            )


def addresses(settings: Settings) -> Iterator[Finding]:
    """Look at the addresses that people and platforms are sent to."""
    parts = urlsplit(settings.nextauth_url)
    live = settings.platform_world == "live"
    if live and parts.scheme != "https":
        yield red(
            "redirect URLs",
            "NEXTAUTH_URL is not https: the platforms redirect to https only",
            "set NEXTAUTH_URL to the address that people reach, with https",
        )
    elif parts.path.strip("/"):
        yield red(
            "redirect URLs",
            "NEXTAUTH_URL has a path: redirect URLs would not be those that are registered",
            "set NEXTAUTH_URL to scheme and host only",
        )
    else:
        urls = ", ".join(
            f"{settings.nextauth_url}/api/accounts/callback/{name}" for name in PROVIDERS
        )
        yield green("redirect URLs", f"to be registered at the platforms, exactly: {urls}")
    public = settings.media_public_base_url
    if live and public is not None and urlsplit(public).scheme != "https":
        yield red(
            "media address",
            "MEDIA_PUBLIC_BASE_URL is not https: Instagram fetches https only",
            "put TLS in front of the gateway",
        )
