"""Names, and what is refused at registration."""

import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from zoo.registry import Registry, nearest, register

SOURCE = {"paper": "A Paper", "url": "https://example.org", "equation": "eq. 1"}


@pytest.fixture(autouse=True)
def a_registry_of_its_own(monkeypatch):
    known = Registry("variant")
    for name in zoo.list_variants():
        known.add(name, zoo.entry(name))
    monkeypatch.setattr("zoo.registry.VARIANTS", known)


def new(name="new_one", **more):
    @register(name, **{**SOURCE, **more})
    class New(zoo.Variant):
        def __init__(self, *, gamma: float = 2.0, **common):
            super().__init__(**common)
            self.gamma = gamma

        def objective(self, terms, step):
            return -terms.elbo

    return New


def test_a_registered_variant_can_be_created():
    cls = new()
    model = zoo.create("new_one", zoo.DataSpec((4,), "binary"), gamma=3.0)
    assert isinstance(model, cls) and model.gamma == 3.0 and model.name == "new_one"


def test_a_taken_name_is_refused():
    new()
    with pytest.raises(ValueError, match="'new_one' is already registered"):
        new()


@pytest.mark.parametrize(("wrong", "said"), [
    ({"tags": ["sequenc"]}, "unknown tag 'sequenc'; did you mean 'sequence'"),
    ({"bound": "elbow"}, "bound is 'elbow'"),
    ({"plain_at": {"gama": 0.0}}, "no setting; did you mean 'gamma'"),
    ({"paper": ""}, "name the paper"),
    ({"equation": ""}, "name the paper"),
    ({"url": "http://example.org"}, "https://"),
])
def test_what_cannot_be_an_entry_is_refused_and_not_entered(wrong, said):
    with pytest.raises(ValueError, match=said):
        new(**wrong)
    assert "new_one" not in zoo.list_variants()


def test_settings_are_those_of_all_constructors_that_pass_keywords_on():
    new()
    settings = zoo.entry("new_one").settings()
    assert settings["gamma"] == 2.0 and "spec" not in settings
    assert {"latent_dim", "hidden", "net", "likelihood"} <= set(settings)


def test_an_entry_cannot_be_changed():
    new(plain_at={"gamma": 0.0})
    entry = zoo.entry("new_one")
    with pytest.raises(AttributeError):
        entry.paper = "Another"
    with pytest.raises(TypeError):
        entry.plain_at["gamma"] = 1.0


def test_patterns_choose_names_in_order():
    registry = Registry("thing")
    for name in ("b_vae", "a_vae", "c"):
        registry.add(name, name.upper())
    assert registry.names() == list(registry) == ["a_vae", "b_vae", "c"] and registry.names("*_vae") == ["a_vae", "b_vae"]
    assert len(registry) == 3 and "c" in registry and "d" not in registry and registry.get("c") == "C"


def test_an_unknown_name_lists_what_is_near_or_else_all():
    assert nearest("vea", ["vae", "iwae"]) == "; did you mean 'vae'?"
    assert nearest("qqqqq", ["vae", "iwae"]) == "; known: iwae, vae"
    with pytest.raises(LookupError, match="unknown thing 'x'; known: none"):
        Registry("thing").get("x")


def test_a_taken_name_is_refused_where_it_is_taken_even_before_any_look_up():
    code = """
import zoo
try:
    @zoo.register("vae", paper="p", url="https://example.org", equation="eq. 1")
    class Mine(zoo.Variant):
        def objective(self, terms, step): ...
except ValueError as error:
    print(error)
print(len(zoo.list_variants()))
"""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    said, count = done.stdout.splitlines()
    assert "'vae' is already registered" in said and int(count) == len(zoo.list_variants())
