"""Mail that the API prints is shown by `minitik up`."""

from pathlib import Path

from minitik_dagster.local.mail_relay import MailRelay


def test_marked_lines_are_said_once_and_whole(tmp_path: Path) -> None:
    """Other lines stay in the log; half a line waits for its end; a missing file is nothing."""
    log = tmp_path / "api.log"
    said: list[str] = []
    relay = MailRelay(log, said.append)
    assert relay.look() is False
    log.write_text('{"event": "x"}\nmail: to a@example.test: Sign in\nmail: http://127')
    relay.look()
    relay.look()
    assert said == ["mail: to a@example.test: Sign in"]
    with log.open("a") as file:
        file.write(".0.0.1/auth/verify?token=x\x1b[2J\n")
    relay.look()
    assert said[1:] == ["mail: http://127.0.0.1/auth/verify?token=x[2J"]
