"""A picture of a page, taken by a browser that is installed: Chromium or Chrome, without a window."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
SIZE = (1280, 1480)                                         # of the window: the leaderboard, and a chart below it
SHADES = 128
SECONDS = 120


def browser() -> str | None:
    """The path of the first browser found."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def flags() -> list[str]:
    """What a browser is started with: without its sandbox for root, who can have none, and without traffic of its own."""
    return [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]


def take(page: Path, picture: Path) -> None:
    """Write a PNG of the top of a page.

    Raises: ValueError for another ending than .png; FileNotFoundError where there is no browser; OSError if it takes none.
    """
    if picture.suffix != ".png":
        raise ValueError(f"--screenshot is {str(picture)!r}; it must end in .png")
    path = browser()
    if path is None:
        raise FileNotFoundError(f"a screenshot needs a browser, and none of {', '.join(BROWSERS)} is on the PATH; install one "
                                "(Debian: apt-get install chromium), or build the report without --screenshot")
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder) / "page.png"
        command = [path, "--headless", *flags(), f"--user-data-dir={folder}/profile", "--hide-scrollbars",
                   "--virtual-time-budget=10000", f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={taken}",
                   page.resolve().as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise OSError(f"{path} took no picture of {page} within {SECONDS} s") from None
        if not taken.is_file():
            raise OSError(f"{path} took no picture of {page}: {done.stderr.strip()[-300:] or f'status {done.returncode}'}")
        picture.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(taken) as image:
            image.convert("RGB").quantize(SHADES, dither=Image.Dither.NONE).save(picture, optimize=True)
