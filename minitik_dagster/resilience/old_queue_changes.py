"""What a take-over changes in the old system's queue: it is paused, jobs leave it one by one, keys go.

Each change is one script, so a crash leaves none half done, and each may be repeated. The rules are
BullMQ's own (its commands `pause` and `removeJob`; documentation, "Removing jobs"): a locked job is never
removed; a removal takes the id out of the set or list it stands in, deletes its keys, frees its
deduplication id and tells `removed` in the stream `bull:publish:events`.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final

import redis as redis_client

from minitik_dagster.resilience.connections import operator_client
from minitik_dagster.resilience.old_queue import OLD_QUEUES, QUEUE

# Versions before 5 let workers block on the list `wait`, whatever `meta` says; from 6 on workers look at
# `meta` alone and leave the list `paused` as it is until somebody resumes. Both are served: the ids go to
# `paused`, those that come first staying first.
_PAUSE: Final = """
local wait, paused, meta, marker, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local was = redis.call('HEXISTS', meta, 'paused')
redis.call('HSET', meta, 'paused', 1)
redis.call('DEL', marker)
if redis.call('EXISTS', paused) == 0 then
  if redis.call('EXISTS', wait) == 1 then redis.call('RENAME', wait, paused) end
else
  while redis.call('LLEN', wait) > 0 do redis.call('RPOPLPUSH', wait, paused) end
end
if was == 0 then redis.call('XADD', events, '*', 'event', 'paused') end
return 1 - was
"""
_REMOVE: Final = """
local prefix, id = ARGV[1], ARGV[2]
local job = prefix .. id
if redis.call('EXISTS', job) == 0 then return 2 end
if redis.call('EXISTS', job .. ':lock') == 1 then return 0 end
local scheduler = redis.call('HGET', job, 'rjk')
if scheduler and redis.call('ZSCORE', prefix .. 'repeat', scheduler) then return -1 end
if redis.call('HEXISTS', job, 'parentKey') == 1
  or redis.call('EXISTS', job .. ':dependencies', job .. ':processed') > 0 then return -2 end
local previous = 'unknown'
for _, set in ipairs({'completed', 'waiting-children', 'delayed', 'failed', 'prioritized'}) do
  if redis.call('ZREM', prefix .. set, id) == 1 then previous = set break end
end
if previous == 'unknown' then
  for _, list in ipairs({'wait', 'paused', 'active'}) do
    if redis.call('LREM', prefix .. list, 1, id) == 1 then previous = list break end
  end
end
redis.call('ZREM', prefix .. 'priority', id)
local held = redis.call('HGET', job, 'deid')
if held and redis.call('GET', prefix .. 'de:' .. held) == id then
  redis.call('DEL', prefix .. 'de:' .. held, prefix .. 'dn:' .. held)
end
redis.call('DEL', job, job .. ':logs', job .. ':dependencies', job .. ':processed', job .. ':failed',
  job .. ':unsuccessful')
local most = redis.call('HGET', prefix .. 'meta', 'opts.maxLenEvents') or 10000
redis.call('XADD', prefix .. 'events', 'MAXLEN', '~', most, '*', 'event', 'removed', 'jobId', id,
  'prev', previous)
return 1
"""
_SCAN_AT_ONCE: Final = 1_000


class Removal(IntEnum):
    """How a removal ended."""

    LOCKED = 0
    REMOVED = 1
    GONE = 2
    OF_A_SCHEDULER = -1
    OF_A_FLOW = -2


def pause_old_queue(redis_url: str) -> bool:
    """Pause the queue so that workers of any version take nothing more; return whether it was running.

    What a worker has in hand goes on until it ends. DependencyDownError when Redis does not answer.
    """
    keys = [f"{QUEUE}:{name}" for name in ("wait", "paused", "meta", "marker", "events")]
    with operator_client(redis_url) as client:
        return bool(client.eval(_PAUSE, len(keys), *keys))


def remove_old_job(redis_url: str, job_id: str) -> Removal:
    """Take one job out of the queue with all that belongs to it; a job that is gone is no error."""
    ((_, how),) = remove_old_jobs(redis_url, [job_id])
    return how


def remove_old_jobs(redis_url: str, job_ids: Iterable[str]) -> Iterator[tuple[str, Removal]]:
    """Take jobs out of the queue, one at each turn; DependencyDownError when Redis does not answer."""
    with operator_client(redis_url) as client:
        for job_id in job_ids:
            answer = client.eval(_REMOVE, 0, f"{QUEUE}:", job_id)
            yield job_id, Removal(int(str(answer)))


def count_old_keys(redis_url: str) -> Mapping[str, int]:
    """Count the keys that Redis holds of each of the old system's queues."""
    with operator_client(redis_url) as client:
        return {name: sum(1 for _ in _keys(client, name)) for name in OLD_QUEUES}


def forget_old_keys(redis_url: str) -> int:
    """Delete every key of the old queues but the mark that `publish` is paused; return how many."""
    gone = 0
    with operator_client(redis_url) as client:
        for name in OLD_QUEUES:
            some: list[str] = []
            for key in _keys(client, name):
                if key != f"{QUEUE}:meta":
                    some.append(key)
                if len(some) == _SCAN_AT_ONCE:
                    gone += client.unlink(*some)
                    some = []
            if some:
                gone += client.unlink(*some)
    return gone


def _keys(client: "redis_client.Redis", name: str) -> Iterator[str]:
    yield from client.scan_iter(match=f"bull:{name}:*", count=_SCAN_AT_ONCE)
