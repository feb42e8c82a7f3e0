"""What ``cifarlab serve`` refuses; tests/serve has what it does."""

import socket
from pathlib import Path

from command_line import Command


def test_what_can_t_be_served_has_two_lines(cifarlab: Command, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words, error in (
            ((tmp_path / "nothing", "--port", 0), "is no exported network"),
            ((tmp_path, "--port", port), f"can't listen on 127.0.0.1, port {port}: "),
            ((tmp_path, "--port", 70000), "can't listen on 127.0.0.1, port 70000: "),
            ((tmp_path, "--port", 0, "--batch", 0), "are above 0"),
            ((tmp_path, "--port", 0, "--resize-mode", "fit"), "no resize mode 'fit'"),
            ((tmp_path, "--port", 0, "--host", "0.0.0.0"), "so it needs a token"),
        ):
            output = cifarlab("serve", *words)
            assert output.code == 2 and error in output.err
            assert len(output.err.splitlines()) == 2
