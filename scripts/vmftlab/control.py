# SPDX-License-Identifier: GPL-2.0-or-later
"""A monitor's control socket: one JSON object per line, each way."""

import json
import socket


class ControlError(Exception):
    """No monitor there, or it does not answer."""


def ask(path, command, timeout=5):
    """Sends a command and returns the answer, refused or not."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as conn:
            conn.settimeout(timeout)
            conn.connect(path)
            conn.sendall(json.dumps({"cmd": command}).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                got = conn.recv(65536)
                if not got:
                    break
                answer += got
    except OSError as error:
        raise ControlError(f"{path}: {command}: {error}") from error
    try:
        return json.loads(answer)
    except ValueError as error:
        raise ControlError(f"{path}: {command}: answered {answer!r}") from error


def command(path, verb, timeout=30):
    """As ask(), but a refusal is an error too."""
    answer = ask(path, verb, timeout)
    if not answer.get("ok"):
        raise ControlError(f"{path}: {verb}: refused: {answer}")
    return answer
