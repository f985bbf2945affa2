"""The platforms under examination: whether each knows our app and our redirect URL.

The harmless call is the exchange of a code that nobody gave out: a platform that calls the *code*
unusable has taken our app, its secret and the redirect URL.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from pydantic import SecretStr

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import ConfigurationError, MinitikError, NotConnectedError
from minitik_dagster.operations.findings import Finding, green, red, yellow
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.settings import Settings

_SECONDS: Final = 10.0
_NO_CODE: Final = SecretStr("minitik-doctor-asks-whether-the-app-is-known")
# A PKCE verifier has 43 to 128 characters (RFC 7636, section 4.1).
_NO_VERIFIER: Final = SecretStr("minitik-doctor-asks-whether-the-app-is-known")


def look(settings: Settings) -> Iterator[Finding]:
    """Ask the three platforms at once."""
    yield from asyncio.run(_ask_all(settings))


async def _ask_all(settings: Settings) -> list[Finding]:
    async with PlatformClients(settings) as clients:
        return list(await asyncio.gather(*(_ask(clients, settings, item) for item in Platform)))


async def _ask(clients: PlatformClients, settings: Settings, platform: Platform) -> Finding:
    provider = platform.value.lower()
    check = f"app {provider}"
    flow = clients.consent(platform)
    redirect = f"{settings.nextauth_url}/api/accounts/callback/{provider}"
    try:
        async with asyncio.timeout(_SECONDS):
            await flow.exchange(_NO_CODE, redirect, _NO_VERIFIER if flow.uses_pkce else None)
    except ConfigurationError:
        return yellow(check, "is not configured", "set its client id and secret")
    except NotConnectedError as error:
        if error.code == "code_unusable":
            return green(check, "the platform takes our app and its secret")
        if error.code == "wrong_redirect":
            return red(check, "the platform does not know our redirect URL", f"register {redirect}")
        if error.code == "app_refused":
            return red(check, "the platform does not take our app or its secret", error.fix)
        return yellow(check, f"could not be told ({error.code})", error.fix)
    except (MinitikError, TimeoutError) as error:
        kind = type(error).__name__
        return yellow(check, f"the platform does not answer ({kind})", "look at its status page")
    return yellow(check, "took a code that nobody gave out", "look at where its hosts point to")
