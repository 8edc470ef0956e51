"""The README's code runs as written, and what it points to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_quick_start_runs_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert tuple(names["images"].shape) == (16, 1, 8, 8) and tuple(names["codes"].shape) == (250, 10)      # type: ignore[attr-defined]
    assert "validation ELBO -" in capsys.readouterr().out


def test_every_link_leads_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "kernels/README.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text()):
            if not link.startswith("http"):
                assert ((ROOT / name).parent / link).exists(), f"{name} points to {link}"


def test_every_make_target_and_command_that_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{t}:", makefile, re.M) for t in re.findall(r"`?make (\w+)", README))
