"""Who may import whom, and what may not be written: read from the syntax tree. And what `import zoo` brings along."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import zoo

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for top in ("kernels", "zoo", "benchmarks") for p in (ROOT / top).rglob("*.py"))
VARIANTS = sorted((ROOT / "zoo" / "variants").glob("[!_]*.py"))
MAY_IMPORT = {"registry", "variant", "sequence", "distributions", "likelihoods", "autoregressive", "nets", "noise", "spec"}
DRAWS = {"rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm", "normal", "multinomial",
         "bernoulli", "poisson", "rsample", "gumbel_softmax", "manual_seed", "uniform_", "normal_", "bernoulli_",
         "exponential_", "random_", "dropout", "dropout1d", "dropout2d", "alpha_dropout", "Dropout", "Dropout1d",
         "Dropout2d", "AlphaDropout"}


def name(path):
    return str(path.relative_to(ROOT))


def tree(path):
    return ast.parse(path.read_text())


def imports(path):
    """Absolute dotted names of all modules that a file imports."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, node.module or ""]).rstrip(".")
            yield from ([base] if node.module else [f"{base}.{alias.name}" for alias in node.names])


def under(module, package):
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_run_one_way(path):
    """benchmarks -> zoo -> kernels -> torch."""
    top = path.relative_to(ROOT).parts[0]
    forbidden = {"kernels": ["zoo", "benchmarks", "tests"], "zoo": ["benchmarks", "tests"],
                 "benchmarks": ["tests", "zoo.variants"]}
    found = [m for m in imports(path) for f in forbidden[top] if under(m, f)]
    assert not found, f"{name(path)} imports {found}"


@pytest.mark.parametrize("path", VARIANTS, ids=name)
def test_a_variant_imports_the_core_and_no_sibling(path):
    for module in imports(path):
        if under(module, "zoo") or under(module, "kernels") or under(module, "benchmarks"):
            part = module.split(".")
            assert part[0] == "zoo" and len(part) > 1 and part[1] in MAY_IMPORT, f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", VARIANTS, ids=name)
def test_a_variant_draws_from_the_noise_it_is_handed(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and node.attr in DRAWS:
            source = ast.unparse(node.value)
            handed = "noise" in source or "init" in source              # noise.normal(..); nn.init at construction
            assert handed, f"{name(path)}:{node.lineno} calls {source}.{node.attr}"


@pytest.mark.parametrize("path", VARIANTS, ids=name)
def test_one_variant_a_file_under_its_own_name(path):
    entered = [d for n in ast.walk(tree(path)) if isinstance(n, ast.ClassDef) for d in n.decorator_list
               if isinstance(d, ast.Call) and ast.unparse(d.func) == "register"]
    assert [d.args[0].value for d in entered] == [path.stem]


def test_fused_operations_have_one_caller():
    """The noise contract, `philox`, others may use too."""
    takers = {name(p) for p in SOURCES if name(p).startswith("zoo/") for n in ast.walk(tree(p))
              if isinstance(n, ast.ImportFrom) and n.module == "kernels" and {alias.name for alias in n.names} != {"philox"}}
    assert takers == {"zoo/distributions.py"}


@pytest.mark.parametrize("path", [p for p in SOURCES if not name(p).startswith("kernels") and p not in VARIANTS], ids=name)
def test_nothing_branches_on_a_variants_name(path):
    """Strings that are a registered name, in code: docstrings may give examples."""
    names = {v for v in zoo.list_variants() if "_" in v or any(c.isdigit() for c in v)}
    compared = [c.value for node in ast.walk(tree(path)) if isinstance(node, ast.Compare)
                for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)]
    assert not set(compared) & set(zoo.list_variants())
    if name(path).startswith("benchmarks"):
        strings = {n.value for n in ast.walk(tree(path)) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        assert not strings & (names | {"vae", "iwae"})


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parts[-1] not in ("__init__.py", "__main__.py")], ids=name)
def test_every_file_says_what_it_is(path):
    assert ast.get_docstring(tree(path))


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False,
                          env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", **environment})


def test_importing_the_zoo_is_light():
    heavy = ["triton", "matplotlib", "torchvision", "sklearn", "scipy", "PIL", "tensorboard", "pandas"]
    done = run(f"import sys, zoo; zoo.list_variants(); print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_foreign_package_named_kernels_is_reported(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("")
    done = run(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import zoo; zoo.create")
    assert "ImportError" in done.stderr and "its own package `kernels`" in done.stderr


def test_every_public_name_resolves():
    import zoo

    for public in dir(zoo):
        assert getattr(zoo, public) is not None
    with pytest.raises(AttributeError, match="no attribute 'creat'"):
        zoo.creat  # noqa: B018
