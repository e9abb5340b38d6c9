"""The `headrace` command."""

from __future__ import annotations

import sys

from headrace_local import cli
from headrace_proto.lifecycle import run_main


def main() -> None:
    """Run the command line and exit with its status."""
    run_main(lambda: sys.exit(cli.run(sys.argv[1:])))


if __name__ == "__main__":
    main()
