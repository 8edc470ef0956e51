"""The page of sliders: what it decodes, and that it works in a real browser."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from zoo.explore import Explorer

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def digits() -> zoo.Dataset:
    return zoo.load_dataset("digits")


@pytest.fixture(scope="module")
def run(digits: zoo.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert subprocess.run([sys.executable, "-m", "zoo", "train", "vae", "--data", "digits", "--steps", "200", "--set",
                           "latent_dim=4", "--out", str(out)], cwd=ROOT, capture_output=True).returncode == 0
    return out


def test_sliders_stand_where_the_code_is(digits: zoo.Dataset) -> None:
    model = zoo.create("vae", digits.spec, seed=0, latent_dim=5).eval()
    e = Explorer(model, digits, n=3)
    code = model.encode(digits.test.batch(slice(7, 8)))
    assert e.start(7) == pytest.approx(code[0, e.latents].tolist(), abs=0.005)
    deviation = model.encode(digits.test.batch(slice(None))).std(0, correction=0)
    assert e.latents == deviation.argsort(descending=True)[:3].tolist()
    assert (e.low <= -3).all() and (e.high >= 3).all()


def test_a_moved_slider_moves_its_latent_alone(digits: zoo.Dataset) -> None:
    model = zoo.create("vae", digits.spec, seed=0, latent_dim=5).eval()
    seen: list[torch.Tensor] = []
    decode = model.decode
    model.decode = lambda z, *more: (seen.append(z.clone()), decode(z, *more))[1]  # type: ignore[method-assign]
    e = Explorer(model, digits, n=2)
    before, after = e.decoded(7, None, e.start(7)), e.decoded(7, None, [2.5, e.start(7)[1]])
    moved = seen[1] - seen[0]
    assert moved.nonzero().tolist() == [[0, e.latents[0]]] and seen[1][0, e.latents[0]] == 2.5
    assert not isinstance(before, str) and not isinstance(after, str)
    shown = np.asarray(before)[32::64, 32::64, 0]            # 8x8 pixels, enlarged
    expected = decode(seen[0])[0, 0].clamp(0, 1).mul(255).round().numpy()
    assert before.size == (512, 512) and np.array_equal(shown, expected)


def test_conditions_and_texts_and_steps(tmp_path: Path) -> None:
    digits = zoo.load_dataset("digits")
    cvae = Explorer(zoo.create("cvae", digits.spec, seed=0, latent_dim=2).eval(), digits)
    assert np.asarray(cvae.decoded(0, 1, [0.0, 0.0])).tobytes() != np.asarray(cvae.decoded(0, 2, [0.0, 0.0])).tobytes()
    file = tmp_path / "t.txt"
    file.write_text("\n".join(["abba", "baab", "abab"] * 10))
    text = zoo.load_dataset(f"text:{file}")
    e = Explorer(zoo.create("vrae", text.spec, seed=0, latent_dim=2).eval(), text)
    assert isinstance(e.decoded(0, None, [0.0, 1.0]), str) and isinstance(e.original(0), str)
    with pytest.raises(ValueError, match="latent at every step"):
        Explorer(zoo.create("vrnn", text.spec, latent_dim=2).eval(), text)
    with pytest.raises(ValueError, match="n is 0"):
        Explorer(zoo.create("vae", digits.spec, latent_dim=2).eval(), n=0)


def test_without_gradio_the_command_says_what_to_install(run: Path, capsys: pytest.CaptureFixture[str],
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.cli import main
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["explore", str(run)]) == 2 and "pip install 'vae-zoo[explore]'" in capsys.readouterr().err


@pytest.fixture
def served(run: Path) -> Iterator[str]:
    pytest.importorskip("gradio", reason="no gradio: the page is not tested")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "zoo", "explore", str(run), "--port", str(port), "--no-browser"],
                               cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if f":{port}" in line:
                break
        else:
            pytest.fail("".join(said))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def test_the_page_decodes_as_a_slider_moves(served: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: the page is not tested in a browser")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium: the page is not tested in a browser")
    with playwright.sync_playwright() as p:
        page = p.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"]).new_page()
        away: list[str] = []
        errors: list[str] = []
        page.on("request", lambda r: away.append(r.url) if not r.url.startswith((served, "data:", "blob:")) else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.goto(served)
        picture = page.locator("#decoded img")
        picture.wait_for(timeout=60_000)
        assert page.locator("input[type=range]:visible").count() == 5           # four latents and the example
        before = picture.get_attribute("src")
        page.locator("[id^=latent-] input[type=range]").first.press("End")
        page.wait_for_function("before => document.querySelector('#decoded img').src !== before", arg=before, timeout=30_000)
        original = page.locator("#test-example img").get_attribute("src")
        page.locator("#example input[type=range]").press("End")
        page.wait_for_function("before => document.querySelector('#test-example img').src !== before", arg=original,
                               timeout=30_000)
        assert not away and not errors
