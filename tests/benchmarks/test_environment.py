"""What a record says of the code that made it."""

import subprocess

import torch

from benchmarks import environment


def test_changes_are_those_of_the_code_and_not_of_records(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True,
                       capture_output=True)

    def write(text, *names):
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)

    def said():
        return environment.environment(torch.device("cpu"))["dirty"]

    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.environment(torch.device("cpu"))["commit"] is None               # no checkout
    git("init")
    write("1", "zoo/a.py", "results/x.json")
    git("add", "-A")
    git("commit", "-m", "first")
    assert said() is False
    write("2", "results/x.json")
    assert said() is False
    write("2", "zoo/a.py")
    assert said() is True
