"""A variant is one file: dropped into the folder, or offered by a package, it is listed, tested and benchmarked unasked."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VARIANT = '''"""Half-price VAE: the KL at a fraction of its cost.

    objective = nll + share * sum_g kl_g          nats per example, minimised

Source: a test, eq. 1.  Departs from the paper: nothing.
"""

from {core}registry import register
from {core}variant import Variant


@register("half_price", paper="A Test", url="https://example.org", equation="eq. 1", plain_at={{"share": 1.0}})
class HalfPrice(Variant):
    def __init__(self, *, share: float = 0.5, **common):
        super().__init__(**common)
        self.share = share

    def objective(self, terms, step):
        return (terms.nll + {weight} * terms.kl.sum(-1)).mean(0)
'''


@pytest.fixture
def copy(tmp_path):
    """A copy of the project's code and of the battery."""
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("zoo", "kernels", "benchmarks", "tests/battery"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    for file in ("pyproject.toml", "tests/conftest.py", "tests/support.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def python(folder, *arguments, path=()):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *map(str, path)]), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def battery(folder, path=()):
    chosen = "half_price and (entry or plain or finite or gradient or order or saved or valid)"
    return python(folder, "-m", "pytest", "tests/battery", "-p", "no:xdist", "-p", "no:randomly", "-k", chosen, path=path)


def listed(folder, path=()):
    return python(folder, "-c", "import zoo; print(zoo.__file__, zoo.list_variants('half*'))", path=path).stdout


def test_a_file_dropped_into_the_folder_is_listed_and_tested(copy):
    (copy / "zoo" / "variants" / "half_price.py").write_text(VARIANT.format(core="..", weight="self.share"))
    assert listed(copy) == f"{copy / 'zoo' / '__init__.py'} ['half_price']\n"
    done = battery(copy)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]


def test_it_is_benchmarked_by_a_suite_that_knows_nothing_of_it(copy):
    (copy / "zoo" / "variants" / "half_price.py").write_text(VARIANT.format(core="..", weight="self.share"))
    (copy / "tiny.toml").write_text("""
        budget = { steps = 3 }
        evaluation = { metrics = ["elbo"] }
        datasets.digits.variants = "half*"
    """)
    done = python(copy, "-m", "benchmarks", "run", "tiny.toml")
    assert done.returncode == 0 and "half_price" in done.stdout, done.stderr[-3000:]
    record = json.loads((copy / "results/tiny/digits/half_price/0-cpu.json").read_text())
    assert record["status"] == "ok" and record["metrics"]["elbo"]["value"] < 0


def test_and_found_wanting_where_it_is_wrong(copy):
    """The setting ignored: not plain where it says so, and no other elsewhere."""
    (copy / "zoo" / "variants" / "half_price.py").write_text(VARIANT.format(core="..", weight="0.5"))
    done = battery(copy)
    assert done.returncode == 1
    assert "test_where_plain_the_objective_is_the_negative_bound" in done.stdout
    assert "test_away_from_plain_the_loss_and_the_gradient_of_q_differ" in done.stdout


@pytest.fixture
def package(tmp_path_factory):
    """An installed package that offers its module through the entry-point group."""
    site = tmp_path_factory.mktemp("site")
    (site / "half_price.py").write_text(VARIANT.format(core="zoo.", weight="self.share"))
    info = site / "half_price-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: half-price\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vae_zoo.variants]\nhalf_price = half_price\n")
    return site


def test_a_package_that_offers_a_variant_is_listed_and_tested(copy, package):
    assert "['half_price']" in listed(copy, [package])
    done = battery(copy, [package])
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]


def test_a_broken_package_warns_and_closes_nothing(copy, package):
    (package / "half_price.py").write_text("raise RuntimeError('broken')")
    done = python(copy, "-c", "import zoo; print(len(zoo.list_variants()) > 5)", path=[package])
    assert done.stdout == "True\n" and "plug-in half_price = half_price failed to load" in done.stderr
