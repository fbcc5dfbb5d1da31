"""Programs started by a test end with it, even if it fails."""

from pathlib import Path

import pytest

from sandbox.testing.processes import free_port, listens, running, wait_until


def test_nothing_is_left_of_a_test_that_fails(tmp_path: Path) -> None:
    port = free_port()
    # The shell ends on request; its child, which listens, would not.
    deaf = f"trap '' TERM; exec python3 -m http.server --bind 127.0.0.1 {port}"
    with (
        pytest.raises(ZeroDivisionError),
        running(["sh", "-c", f'(sh -c "{deaf}") & wait'], tmp_path / "log", port=port, env={}),
    ):
        raise ZeroDivisionError
    wait_until(lambda: not listens(port), "the port is free again", 5)


def test_a_program_that_ends_at_once_is_shown_with_what_it_said(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="no such luck"),
        running(["sh", "-c", "echo no such luck"], tmp_path / "log", port=free_port(), env={}),
    ):
        pass
