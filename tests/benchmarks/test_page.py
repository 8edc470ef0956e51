"""The page in a real browser: it draws, sorts, filters, compares, in light and dark, on a phone, and needs no network."""

import re

import pytest
from handmade import keep, made
from PIL import Image

from benchmarks import pictures, report, screenshot
from benchmarks.cli import main

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: the tests of pages in a browser are skipped")
if screenshot.browser() is None:
    pytest.skip(f"none of {', '.join(screenshot.BROWSERS)}: the tests of pages in a browser skip", allow_module_level=True)

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A report of two data sets, the second with a baseline that wins and a name that nobody knows."""
    out = tmp_path_factory.mktemp("page")
    ours = {"train_throughput": 900.0, "au": 4.0, "fcd": 2.0}
    keep(out, [made("vae", dataset="a", elbo=-1.0),
               made("vae", elbo=-10.0, rate=4.0, distortion=6.0, **ours),
               made("iwae", elbo=-9.0, rate=4.0, distortion=5.0, **ours),
               made("ae", fcd=1.0), made("mystery", role="baseline", elbo=-8.0, fcd=3.0), made("vrae", status="failed")])
    for variant, shade in (("vae", 80), ("iwae", 160)):
        stem = pictures.stem(out / "s", "d/e", variant)
        stem.parent.mkdir(exist_ok=True)
        for kind in pictures.KINDS:
            Image.new("RGB", (32, 24), (shade, shade, shade)).save(pictures.path_of(stem, kind))
    return report.build("s", out)


@pytest.fixture(scope="module")
def browser():
    """A browser, started once."""
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=screenshot.browser(), args=screenshot.flags())
        yield started
        started.close()


@pytest.fixture
def opened(browser, built):
    """opened(size, scheme) -> the page at the second data set. At the end: no error was logged, no request made."""
    complaints, contexts = [], []

    def open_page(size=WIDE, scheme="light", **more):
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme, **more))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.route(re.compile(r"^(?!file:|data:|blob:)"), lambda route: (complaints.append(route.request.url), route.abort()))
        page.goto(f"{built.as_uri()}#d-e")
        page.wait_for_selector(".plot .main-svg")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def labels(page):
    return page.locator(".leaderboard [scope=row]").all_inner_texts()


def section(page, title):
    return page.locator("section", has=page.get_by_role("heading", name=title, exact=True))


def test_the_leaderboard_sorts_filters_and_changes_groups(opened):
    page = opened()
    assert labels(page) == ["iwae", "vae", "ae", "mystery"]
    best = page.locator(".leaderboard tr", has_text="mystery").locator("b")
    assert best.all_inner_texts() == ["-8.00 ± 0.50"]                        # a baseline wins, and is seen to
    heads = page.locator(".leaderboard thead")
    heads.get_by_role("button", name="fcd").click()
    assert labels(page) == ["ae", "iwae", "vae", "mystery"]                  # lower is better: ascending first
    heads.get_by_role("button", name="elbo").click()
    heads.get_by_role("button", name="elbo").click()
    assert labels(page) == ["vae", "iwae", "ae", "mystery"]                  # the second click reverses; dashes stay last
    assert heads.locator("[aria-sort=ascending]").inner_text().startswith("elbo")
    page.get_by_label("filter rows").fill("iwae deterministic")              # a name, or a tag
    assert labels(page) == ["iwae", "ae"] and page.get_by_role("status").inner_text() == "2 of 4 rows"
    page.get_by_label("filter rows").fill("nothing")
    assert labels(page) == [] and page.get_by_text("No row matches.").is_visible()
    page.get_by_label("filter rows").fill("")
    page.get_by_role("tab", name="likelihood").click()
    assert [head.split()[0] for head in heads.locator("th").all_inner_texts()] == ["variant", "elbo", "rate", "distortion"]
    assert labels(page) == ["vae", "iwae", "mystery"]                        # ae has no likelihood


def test_pictures_are_shown_and_change_with_their_kind(opened):
    page = opened()
    gallery = section(page, "Pictures")
    for kind in pictures.KINDS:
        gallery.get_by_role("tab", name=kind, exact=True).click()
        images = gallery.locator("img")
        assert [images.nth(i).get_attribute("alt") for i in range(images.count())] == [f"{kind} of iwae", f"{kind} of vae"]
        for i in range(images.count()):
            images.nth(i).evaluate("image => image.decode()")
            assert images.nth(i).evaluate("image => image.naturalWidth") == 32
    images.first.click()
    dialog = page.get_by_role("dialog")
    assert dialog.locator("img").bounding_box()["width"] > 2 * images.first.bounding_box()["width"]
    dialog.click()
    dialog.wait_for(state="detached")


def test_charts_draw_and_follow_the_filter(opened):
    page = opened()
    charts = section(page, "Charts")
    traces = lambda: charts.locator(".plot").evaluate("plot => plot.data.filter(t => t.showlegend !== false).map(t => t.name)")
    bars = "plot => plot.data.map(trace => trace.error_x.array[0])"
    assert traces() == ["mystery", "iwae", "vae"] and charts.locator(".plot").evaluate(bars) == [0.5] * 3
    assert charts.locator(".errorbar").count() == 3
    for name, drawn in (("Rate and distortion", ["iwae", "vae"]), ("Quality and cost", ["iwae", "vae"]),
                        ("Training", ["iwae", "vae", "mystery"])):
        charts.get_by_role("tab", name=name).click()
        page.wait_for_function("document.querySelector('.plot .scatterlayer .trace')")
        assert traces() == drawn, name
    page.get_by_label("filter rows").fill("iwae")
    assert traces() == ["iwae"]


def test_a_variant_opens_with_its_formula_and_two_stand_side_by_side(opened):
    page = opened()
    page.locator(".leaderboard [scope=row]").get_by_role("button", name="vae", exact=True).click()
    card = page.locator("details.card[open]")
    card.locator("pre").wait_for()
    assert "nll + sum_g kl_g" in card.inner_text() and card.locator("img").count() == len(pictures.KINDS)
    assert card.get_by_role("link").get_attribute("href") == "https://arxiv.org/abs/1312.6114"
    card.locator(".plot .scatterlayer .trace").first.wait_for()
    side = section(page, "Side by side")
    side.get_by_label("right").select_option("mystery")
    assert side.locator("h3").all_inner_texts() == ["iwae", "mystery"] * 2
    row = side.locator("tr", has_text="elbo").locator("td")
    assert row.all_inner_texts() == ["-9.00 ± 0.50", "-8.00 ± 0.50"] and row.locator("b").all_inner_texts() == ["-8.00 ± 0.50"]
    assert "no variant of this name" in side.inner_text()


def test_data_sets_failures_and_markup_in_records(opened):
    page = opened()
    assert page.locator("nav [aria-current]").inner_text() == "d/e"
    page.locator("nav a", has_text="a").first.click()
    page.wait_for_function("document.querySelectorAll('.leaderboard [scope=row]').length === 1")
    assert "ValueError: </script><b>broken</b>" in section(page, "Failed trials").inner_text()
    assert "abacus" in section(page, "Where it ran").inner_text()


def test_a_report_of_failures_only(opened, tmp_path):
    keep(tmp_path, [made("vae", status="failed")])
    page = opened()
    page.goto(report.build("s", tmp_path).as_uri())
    assert "d/e vae seed 0" in section(page, "Failed trials").inner_text() and page.locator(".leaderboard").count() == 0


def test_dark_mode_changes_the_page_and_its_charts(opened):
    page = opened()
    colours = lambda: page.evaluate("""() => [getComputedStyle(document.body).backgroundColor,
        document.querySelector('.plot').layout.font.color, document.querySelector('.plot').data[0].marker.color]""")
    light = colours()
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("colour => document.querySelector('.plot').layout.font.color !== colour", arg=light[1])
    assert all(now != then for now, then in zip(colours(), light, strict=True))


def test_a_phone_scrolls_tables_and_not_the_page(opened):
    page = opened(PHONE, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator(".board .wide").evaluate("box => box.scrollWidth > box.clientWidth")
    plot = page.locator(".plot").first.bounding_box()
    assert plot["x"] >= 0 and plot["x"] + plot["width"] <= PHONE["width"]


def test_a_screenshot_is_a_picture_of_the_page(browser, built, tmp_path):
    path = tmp_path / "docs/page.png"
    assert main(["report", "s", "--out", str(built.parents[1]), "--screenshot", str(path)]) == 0
    with Image.open(path) as image:
        assert image.size == screenshot.SIZE and len(image.getcolors()) > 20
