"""The command line as a user meets it: help, names, errors, pictures."""

import json
import subprocess
import sys

import pytest

from zoo.cli import main


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; sys.argv = ['zoo', '--help']\ntry:\n import zoo.cli; zoo.cli.main()\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    commands = ("list", "show", "train", "sample", "reconstruct", "traverse", "interpolate", "map", "explore")
    assert all(command in shown for command in commands)


def test_list_and_show_speak_to_people_and_to_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0 and "beta_vae" in capsys.readouterr().out
    assert main(["list", "--data"]) == 0 and "digits" in capsys.readouterr().out
    assert main(["list", "beta_v*", "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["name"] == "beta_vae" and facts["settings"]["beta"] == 4.0
    assert main(["show", "beta_vae"]) == 0
    shown = capsys.readouterr().out
    assert "Higgins" in shown and "beta = 4.0" in shown and "nll + beta * sum_g kl_g" in shown


@pytest.mark.parametrize(("argv", "said"), [
    (["show", "betavae"], "did you mean 'beta_vae'"),
    (["train", "vae", "--data", "digitz"], "did you mean 'digits'"),
    (["train", "beta_vae", "--data", "digits", "--set", "bta=2"], "did you mean 'beta'"),
    (["train", "beta_vae", "--data", "digits", "--set", "beta"], "KEY=VALUE"),
    (["train", "vrae", "--data", "digits"], "takes sequences"),
    (["train", "vae", "--data", "digits", "--steps", "0"], "steps is 0"),
    (["sample", "nowhere"], "no checkpoint at nowhere"),
])
def test_a_wrong_word_is_answered_in_one_line(argv: list[str], said: str, capsys: pytest.CaptureFixture[str],
                                              tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error and error.startswith(f"zoo {argv[0]}: ")


def test_train_then_look(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", "cvae", "--data", "digits", "--steps", "3", "--set", "hidden=16", "--out", str(run)]) == 0
    assert {"model.safetensors", "checkpoint.safetensors", "log.jsonl", "run.json"} <= {p.name for p in run.iterdir()}
    assert main(["sample", str(run), "-n", "4", "--label", "3", "--png", str(tmp_path / "threes.png")]) == 0
    assert main(["reconstruct", str(run), "-n", "4"]) == 0
    assert main(["traverse", str(run), "-n", "2"]) == 0
    assert main(["interpolate", str(run), "-n", "3"]) == 0 and main(["interpolate", str(run), "-n", "1", "--label", "3"]) == 0
    assert main(["map", str(run)]) == 0
    assert main(["map", str(run), "--dims", "3", "--png", str(tmp_path / "space.png")]) == 0
    drawn = ("samples", "reconstructions", "traversal", "interpolations", "map")
    pictures = [tmp_path / "threes.png", tmp_path / "space.png", *(run / f"{n}.png" for n in drawn)]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)
    assert main(["sample", str(run), "--label", "11"]) == 2 and "0 .. 9" in capsys.readouterr().err


def test_text_is_written_as_text(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    poem = tmp_path / "poem.txt"
    poem.write_text("to be or not to be that is the question\n" * 40)
    out = str(tmp_path / "r")
    assert main(["train", "vrae", "--data", f"text:{poem}", "--steps", "2", "--set", "hidden=8", "--out", out]) == 0
    assert main(["sample", out, "-n", "2"]) == 0
    drawn = capsys.readouterr().out.rsplit("\n", 2)[0].split("\n---\n")[-1]
    assert set(drawn) <= set(poem.read_text())


def test_a_model_with_a_latent_a_step_has_maps_and_no_walks(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "r")
    assert main(["train", "vrnn", "--data", "digit_rows", "--steps", "2", "--set", "hidden=8", "--out", out]) == 0
    assert main(["map", out]) == 0
    for walk in ("traverse", "interpolate"):
        assert main([walk, out]) == 2 and "no one code to move" in capsys.readouterr().err
