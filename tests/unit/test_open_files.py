"""A service takes as many connections as the system lets it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
from headrace_proto import sockets
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(64, hard), hard))
sockets.context()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))
"""


def test_the_usual_limit_of_open_files_is_no_limit_of_actors() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert ran.stdout == "True\n", ran.stderr
