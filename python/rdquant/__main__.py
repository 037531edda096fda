"""`python -m rdquant` is the command `rdquant`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with its exit code; Ctrl-C while it still loads counts as in a command."""
    try:
        try:
            from .cli import main as run
        except ModuleNotFoundError as error:
            if error.name not in ("typer", "rich"):
                raise
            from .profile.command import main as plain

            sys.exit(plain())
        run()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Nothing was written.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
