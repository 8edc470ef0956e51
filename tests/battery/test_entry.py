"""What is written about a variant, and what it refuses to be built from."""

import pytest
from support import NAMES, SPECS, examples, forms, kinds, small

import zoo
from zoo.registry import BOUNDS, TAGS


@pytest.mark.parametrize("name", NAMES)
def test_cites_its_source(name):
    entry = zoo.entry(name)
    assert entry.name == name and entry.paper and entry.equation and entry.url.startswith("https://")


@pytest.mark.parametrize("name", NAMES)
def test_lives_in_the_file_of_its_name(name):
    assert zoo.entry(name).build.__module__.split(".")[-1] == name


@pytest.mark.parametrize("name", NAMES)
def test_its_file_says_formula_units_source_and_departures(name):
    text = zoo.entry(name).documentation
    assert "=" in text and "nats" in text and "minimised" in text
    assert "Source:" in text and "Departs from the paper:" in text


@pytest.mark.parametrize("name", NAMES)
def test_its_bound_and_tags_agree(name):
    entry = zoo.entry(name)
    assert entry.bound in BOUNDS and entry.tags <= set(TAGS)
    assert entry.bound != "none" or entry.plain_at is None
    if issubclass(entry.build, zoo.SequenceVariant):
        assert "sequence" in entry.tags and len(entry.tags & {"filtering", "smoothing"}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_takes_some_data_and_says_why_not_others(name):
    assert kinds(name)
    for kind in set(SPECS) - set(kinds(name)):
        with pytest.raises(ValueError, match=name):
            zoo.create(name, SPECS[kind])


@pytest.mark.parametrize("name", NAMES)
def test_a_misspelt_name_is_refused_with_the_nearest_match(name):
    with pytest.raises(LookupError, match=f"did you mean.*'{name}'"):
        zoo.create(name + "x", SPECS[kinds(name)[0]])


@pytest.mark.parametrize("name", NAMES)
def test_a_misspelt_setting_is_refused_with_the_nearest_match(name):
    for setting in zoo.entry(name).settings():
        with pytest.raises(TypeError, match=f"'{setting}'"):
            zoo.create(name, SPECS[kinds(name)[0]], **{setting + "x": 1})


@pytest.mark.parametrize("name", NAMES)
def test_sizes_below_one_are_refused(name):
    for size in ("latent_dim", "hidden"):
        with pytest.raises(ValueError, match="at least|greater"):
            zoo.create(name, SPECS[kinds(name)[0]], **{size: 0})


@pytest.mark.parametrize("name", NAMES)
def test_its_settings_rebuild_it(name):
    for form in forms(name):
        model = small(name, kinds(name)[0], **form)
        again = zoo.create(name, model.spec, **model.settings)
        assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
def test_built_with_its_defaults_it_runs(name):
    spec = SPECS[kinds(name)[0]]
    assert zoo.create(name, spec)(examples(spec)).elbo.isfinite().all()
