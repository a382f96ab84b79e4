"""``python -m stream.cli``."""

from stream.cli import main

if __name__ == "__main__":
    main()
