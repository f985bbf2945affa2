"""Takes out of a text what looks like a credential. Pure: it knows the forms, not the values.

Logs use the forms alone (and the values of this process's own secrets: logs.py). What others wrote and we
repeat, a request's wrong value or a platform's unknown code, is told without opaque strings as well:
somebody may have put a token where none belongs.
"""

import re
from typing import Final

REDACTED: Final = "[redacted]"
_CREDENTIALS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # Upload URLs, session URIs and presigned URLs are credentials by their queries.
    (re.compile(r"""(https?://[^\s"'<>?\\]+)\?[^\s"'<>\\]*"""), rf"\1?{REDACTED}"),
    (re.compile(r"""([a-z][a-z0-9+.-]*://)[^\s/@"'<>]+@""", re.IGNORECASE), rf"\1{REDACTED}@"),
    (re.compile(r"\b(Bearer|Basic) +[A-Za-z0-9._~+/=|!-]{4,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"\bOAuth +(?=[a-z]*[A-Z0-9._|])[A-Za-z0-9._~+/=|!-]{8,}"), f"OAuth {REDACTED}"),
    (
        re.compile(
            r"""\b((?:access|refresh|id|upload|fb_exchange)_?token|client_?secret|code_verifier"""
            r"""|password|X-Amz-(?:Signature|Credential|Security-Token))"""
            r"""(\\?["']?\s*[=:]\s*\\?["']?)(?!\[redacted\])[^\s"'&,;<>)\]}\\]+""",
            re.IGNORECASE,
        ),
        rf"\1\2{REDACTED}",
    ),
    # Sealed values: base64 of a 12-byte IV, a 16-byte tag and the ciphertext.
    (re.compile(r"[A-Za-z0-9+/]{16}:[A-Za-z0-9+/]{22}==:[A-Za-z0-9+/]+={0,2}"), REDACTED),
    # Our keys (their first twelve characters may be shown) and webhook secrets.
    (re.compile(r"\b(mtk_[A-Za-z0-9_-]{8})[A-Za-z0-9_-]+"), rf"\1{REDACTED}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]+"), f"whsec_{REDACTED}"),
    # The platforms' own tokens by their beginnings.
    (re.compile(r"\b(?:act\.|rft\.|ya29\.|1//|IG[AQ])[A-Za-z0-9!._~*-]{20,}"), REDACTED),
)
# No word and no id of ours (25 characters) looks so: capitals, small letters and digits in one long
# run, or a digest's length of hexadecimal digits.
_RUN: Final = "A-Za-z0-9_-"
_OPAQUE: Final = re.compile(
    rf"(?<![{_RUN}])(?=[{_RUN}]*[0-9])(?=[{_RUN}]*[A-Z])(?=[{_RUN}]*[a-z])[{_RUN}]{{32,}}"
    r"|(?<![A-Za-z0-9])(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})(?![A-Za-z0-9])"
)


def redact_credentials(text: str) -> str:
    """Return the text without what has the form of a credential we know."""
    for pattern, replacement in _CREDENTIALS:
        text = pattern.sub(replacement, text)
    return text


def redact_opaque(text: str) -> str:
    """Return the text without credentials and without any other string that only a machine could read."""
    return _OPAQUE.sub(REDACTED, redact_credentials(text))
