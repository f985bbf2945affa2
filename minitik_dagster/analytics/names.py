"""The collections of MONGODB_DB (contracts.md, MongoDB) and their indexes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pymongo import ASCENDING, DESCENDING

READINGS: Final = "analytics"
DAILY: Final = "analytics_daily"
USER_DAILY: Final = "analytics_user_daily"
CONTENT_PERFORMANCE: Final = "analytics_content_performance"
ACCOUNT_PERFORMANCE: Final = "analytics_account_performance"
YOUTUBE_DAILY: Final = "analytics_youtube_daily"
PARTITIONS: Final = "analytics_partitions"

RETENTION_SECONDS: Final = 31_536_000
TIME_SERIES: Final[Mapping[str, str]] = MappingProxyType(
    {"timeField": "timestamp", "metaField": "metadata", "granularity": "hours"}
)
Keys = tuple[tuple[str, int], ...]
READING_INDEXES: Final[tuple[Keys, ...]] = tuple(
    ((f"metadata.{name}", ASCENDING), ("timestamp", DESCENDING))
    for name in ("contentId", "accountId", "platform", "userId", "publicationId")
)
_PARTITION: Final[Keys] = (("partition", ASCENDING), ("generation", ASCENDING))
# What is read as of one moment is asked for by its generations.
_GENERATION: Final[Keys] = (("generation", ASCENDING),)
ROLLUP_INDEXES: Final[Mapping[str, tuple[Keys, ...]]] = MappingProxyType(
    {
        DAILY: (_PARTITION, _GENERATION, (("userId", ASCENDING), ("day", ASCENDING))),
        # Asked for by its documents' own ids alone.
        USER_DAILY: (_PARTITION,),
        CONTENT_PERFORMANCE: (_PARTITION, _GENERATION, (("contentId", ASCENDING),)),
        ACCOUNT_PERFORMANCE: (_PARTITION, _GENERATION, (("userId", ASCENDING),)),
        YOUTUBE_DAILY: (_PARTITION, _GENERATION, (("accountId", ASCENDING), ("day", ASCENDING))),
    }
)
