"""Make the README's pictures again: ``python benchmarks/pictures.py`` (a minute; the page needs a Chromium)."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from pathlib import Path

from stream import demo
from stream.watch.chromium import find

sys.path.insert(0, str(Path(__file__).parent))
from page_shot import shoot

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SECONDS = 45.0


def main() -> None:
    """Run the demonstration, photograph its page on the way, and keep its summary."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    shots: list[threading.Thread] = []

    def say(line: str) -> None:
        print(line, flush=True)
        if line.startswith("live page: ") and find() is not None:
            url = line.removeprefix("live page: ")
            shot = threading.Thread(target=shoot, args=(url, PICTURES / "page.png", (1280, 800), 250, False))
            shot.start()
            shots.append(shot)

    with tempfile.TemporaryDirectory() as out:
        result = demo.run(SECONDS, browser=False, say=say, out=Path(out))
        for shot in shots:
            shot.join()
        shutil.copyfile(result["picture"], PICTURES / "demo.png")
    print(demo.in_words(result))


if __name__ == "__main__":
    main()
