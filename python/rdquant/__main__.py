"""`python -m rdquant` is the command `rdquant`."""

from .cli import main

if __name__ == "__main__":
    main()
