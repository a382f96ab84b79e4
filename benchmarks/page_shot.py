"""Take a picture of a running live page: ``python benchmarks/page_shot.py http://127.0.0.1:8600 docs/page.png``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stream.watch.chromium import Chromium, find


def shoot(url: str, out: Path, size_px: tuple[int, int], drawn: int, whole: bool) -> None:
    """Open the page, wait until it has drawn ``drawn`` pictures and write what it shows."""
    program = find()
    if program is None:
        raise SystemExit("no chromium on this machine; install one or name it in $CHROMIUM")
    with Chromium(program, size_px, timeout_s=120) as browser:
        browser.open(url)
        browser.until(f"+document.querySelector('#canvas').dataset.drawn >= {drawn}")
        browser.screenshot(out, whole)


def main() -> int:
    """Read the command line and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--drawn", type=int, default=30, help="pictures to wait for")
    parser.add_argument("--whole", action="store_true", help="to the end of the page")
    args = parser.parse_args()
    shoot(args.url.rstrip("/") + "/", args.out, (args.width, args.height), args.drawn, args.whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())
