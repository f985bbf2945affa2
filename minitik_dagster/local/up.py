"""`minitik up`: the stack, staying up until it is told to stop."""

import os
import sys
import traceback

from minitik_dagster.errors import MinitikError
from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.endpoints import Endpoints
from minitik_dagster.local.mail_relay import MailRelay
from minitik_dagster.local.plan import StackOptions
from minitik_dagster.local.stack import Stack
from minitik_dagster.local.supervisor import StopRequestedError

EXIT_GOOD, EXIT_WRONG, EXIT_INTERRUPTED = 0, 1, 130


def say(text: str) -> None:
    """Print one line at once, also into a pipe or a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Print the one clear line of a failure on standard error."""
    line = " ".join(text.split())
    sys.stderr.write(f"minitik: {line}\n")
    sys.stderr.flush()


def explain(error: Exception, folder: DataFolder) -> str:
    """One line for any failure; what we did not foresee leaves its trace in the logs."""
    if isinstance(error, MinitikError):
        return str(error)
    trace = folder.logs / "failure.log"
    try:
        trace.write_text("".join(traceback.format_exception(error)))
        trace.chmod(0o600)
    except OSError:
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__} (details: {trace})"


def run_up(options: StackOptions) -> int:
    """Start the stack, print its addresses, stop it on Ctrl-C or SIGTERM; returns the exit code."""
    stack = Stack(options, say, os.environ.copy())
    code = EXIT_GOOD
    with stack.supervisor.signals():
        try:
            endpoints = stack.start()
            announce(endpoints, stack)
            relay = MailRelay(stack.folder.logs / "api.log", say)
            stack.supervisor.watch(relay.look)
            say("stopping …")
        except StopRequestedError:
            say("stopping before everything was up …")
            code = EXIT_INTERRUPTED
        except Exception as error:  # one clear line for the person, the trace for the curious
            complain(explain(error, stack.folder))
            code = EXIT_WRONG
        finally:
            stack.stop()
    say("everything is stopped")
    return code


def announce(endpoints: Endpoints, stack: Stack) -> None:
    """Say where everything answers. Passwords and keys stay in endpoints.json."""
    rows = [
        ("API", f"{endpoints.api}  (documentation: {endpoints.api}/docs)"),
        ("Dagster", endpoints.dagster),
        ("Sandbox", endpoints.sandbox or "none: the real platforms"),
        ("PostgreSQL", without_credentials(endpoints.databaseUrl)),
        ("Redis", without_credentials(endpoints.redisUrl)),
        ("MongoDB", without_credentials(endpoints.mongodbUri)),
        ("S3", f"{endpoints.s3Endpoint or 'AWS'}  bucket {endpoints.s3Bucket}"),
        ("Keys", str(stack.folder.endpoints_file)),
        ("Logs", str(stack.folder.logs)),
    ]
    say("")
    for name, value in rows:
        say(f"  {name:<11}{value}")
    say("")
    say("up; Ctrl-C stops everything")


def without_credentials(url: str) -> str:
    """The URL without its user and password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
