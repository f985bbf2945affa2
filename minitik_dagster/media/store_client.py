"""How the client of the bucket talks: signatures, patience and connections."""

from botocore.config import Config


def client_config(*, path_addressing: bool, patience: float | None = None) -> Config:
    """Return boto3's settings; `path_addressing` for servers that are no Amazon.

    With `patience` each call is made once and waits so many seconds: for whoever only asks whether the
    store is there, and must not be held up by one that takes connections and says nothing.
    """
    return Config(
        signature_version="s3v4",
        # Not "auto": that signs for the global host, which redirects a young bucket of another
        # region to its own one, and no signature survives that.
        s3={"addressing_style": "path" if path_addressing else "virtual"},
        connect_timeout=patience or 5,
        read_timeout=patience or 60,
        retries={"mode": "standard", "total_max_attempts": 1 if patience else 3},
        max_pool_connections=32,
        # Newer SDKs add checksums of their own to every call: to a presigned part as a parameter
        # that the sender would have to match, and not every S3 speaks them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
