"""The review page as a reviewer uses it, in Chromium, from a file, with nothing else to reach; then the summary of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from medreason_dist.config import Config
from medreason_dist.review.inbox import ANSWERS
from medreason_dist.review.key import Key
from medreason_dist.review.pipeline import SUMMARY_PAGE, prepare_review, summarise_review
from medreason_dist.review.summary import Answered, Remark
from tests.review.datasets import published_rows, write_dataset
from tests.review.reviews import make_config, prepare

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext
    from playwright.sync_api import Page as Tab

pytestmark = pytest.mark.slow

ATTACKS = (
    "</p><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "\"'><svg onload=window.hacked=1><base href=//evil.example>",
    "{{ 7 * 7 }}</title></style><iframe src=javascript:window.hacked=1></iframe>",
    '=HYPERLINK("http://127.0.0.1:9/","see") \u202e\u2067 reversed \u2028 <!-- ${window.hacked=1}`',
)
WRITTEN = '"quoted" <b>bold</b> =SUM(A1)\n🧪 e\u0301 \u007f \u202e \\ </script>'


@pytest.fixture
def open_browser(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Opens a browser with a memory of its own. In the end no script may have failed, nothing but files been asked for."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def watch(tab: Tab) -> None:
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("console", lambda message: faults.append(message.text))

    def note(address: str) -> None:
        if not address.startswith(("file:", "blob:")):
            faults.append(address)

    def opens(**options: Any) -> BrowserContext:
        context = browser.new_context(**options)
        context.on("page", watch)
        context.on("request", lambda request: note(request.url))
        contexts.append(context)
        return context

    yield opens
    for context in contexts:
        context.close()
    assert not faults


def open_page(context: BrowserContext, config: Config, reviewer: str, place: str = "") -> Tab:
    tab = context.new_page()
    tab.goto(f"{Path(config.review.uri, f'review-{reviewer}.html').as_uri()}#{place}")
    return tab


def go(tab: Tab, item: str) -> str:
    """Shows an item and returns its selector."""
    tab.click(f".places a[href='#{tab.get_attribute(f'[data-item={item}]', 'id')}']")
    tab.wait_for_selector(f"[data-item={item}]:not([hidden])")
    return f"[data-item={item}]"


def give(tab: Tab, trace: str, criterion: str, grade: int) -> None:
    tab.click(f"{trace} [data-criterion={criterion}] label:text-is('{grade}')")


def save(tab: Tab, config: Config) -> Path:
    with tab.expect_download() as download:
        tab.click("#save")
    place = Path(config.review.uri, ANSWERS, download.value.suggested_filename)
    download.value.save_as(place)
    return place


def told(tab: Tab) -> str:
    tab.wait_for_function("() => document.getElementById('told').textContent")
    return tab.inner_text("#told")


def test_a_review_from_the_page_to_the_summary(tmp_path: Path, open_browser: Callable[..., BrowserContext]) -> None:
    """Two reviewers prefer methods as in test_agreement.test_nominal_by_hand: alpha is 8 / 15."""
    config, key = prepare(tmp_path, questions=4)
    preferred = {
        "r1": {"q1": "first", "q2": "first", "q3": "second", "q4": "first"},
        "r2": {"q1": "first", "q2": "first", "q3": "second", "q4": "second"},
    }
    for reviewer, wanted in preferred.items():
        tab = open_page(open_browser(), config, reviewer)
        tab.click("text=Begin")
        for item, method in wanted.items():
            shown, sides = go(tab, item), key.reviewers[reviewer].sides[item]
            for side, stands in sides.items():
                for criterion in ("accuracy", "logic", "completeness", "usefulness"):
                    give(tab, f"{shown} [data-side={side}]", criterion, 4 if stands == "first" else 2)
            tab.click(f"{shown} .preference label:text-is('{next(s for s in sides if sides[s] == method)}')")
        assert tab.inner_text("#progress") == "4 of 4 done"
        if reviewer == "r1":
            mark_step(tab, key, "q3")
        place = save(tab, config)
        assert told(tab) == f"Saved as answers-{reviewer}.json, 4 of 4 done. Send that file back."
        held = json.loads(place.read_text(encoding="utf-8"))
        assert set(held) == {"version", "review", "reviewer", "answers", "digest"}
        assert set(held["answers"]) == set(wanted)
    summary = summarise_review(config)
    assert summary.preferences is not None
    assert summary.preferences.agreement.alpha == pytest.approx(8 / 15)
    assert (summary.preferences.agreement.units, summary.preferences.agreement.reviewers) == (4, 2)
    assert summary.preferences.first is not None
    assert summary.preferences.first.value == 5 / 8
    assert summary.grades["logic"].difference is not None
    assert summary.grades["logic"].difference.value == 2
    (step,) = summary.wrong_steps
    assert (step.item, step.method, step.step, step.called, step.judged) == ("q3", "second", 1, 1, 2)
    (why,), (comments,) = step.whys, summary.comments
    assert why == Remark("r1", " ".join(WRITTEN.split("\n")))
    assert (comments.method, comments.remarks) == ("second", [Remark("r1", WRITTEN)])
    page = open_browser().new_page()
    page.goto(Path(config.review.uri, SUMMARY_PAGE).as_uri())
    assert '"quoted" <b>bold</b> =SUM(A1)' in page.inner_text("body")


def mark_step(tab: Tab, key: Key, item: str) -> None:
    """Calls the first step of the second method's trace wrong, and writes why and a comment."""
    sides = key.reviewers["r1"].sides[item]
    trace = f"{go(tab, item)} [data-side={next(s for s in sides if sides[s] == 'second')}]"
    tab.check(f"{trace} .step:nth-child(1) .wrong input")
    tab.fill(f"{trace} .step:nth-child(1) .why", " ".join(WRITTEN.split("\n")))
    tab.fill(f"{trace} textarea", WRITTEN)


def test_grades_from_the_page_give_the_alphas_of_the_formula(
    tmp_path: Path, open_browser: Callable[..., BrowserContext]
) -> None:
    """Accuracy as in test_agreement.test_ordinal_by_hand; logic agrees; completeness has one value; usefulness disagrees:

    n1 = n3 = n5 = 2; squared distances (2 + 2 - 2)^2 = 4 between neighbors, (6 - 2)^2 = 16 from 1 to 5. Observed 4 * 16 / 6,
    expected 2 * (4 * 4 + 4 * 4 + 4 * 16) / 30 = 6.4: alpha = 1 - 5 / 3.
    """
    config, _ = prepare(tmp_path, questions=3, paired=False)
    planted = {
        "r1": {"accuracy": (1, 2, 3), "logic": (1, 2, 5), "completeness": (4, 4, 4), "usefulness": (1, 5, 3)},
        "r2": {"accuracy": (1, 3, 3), "logic": (1, 2, 5), "completeness": (4, 4, 4), "usefulness": (5, 1, 3)},
    }
    for reviewer, grades in planted.items():
        tab = open_page(open_browser(), config, reviewer)
        for place, item in enumerate(("q1", "q2", "q3")):
            shown = go(tab, item)
            for criterion, given in grades.items():
                give(tab, shown, criterion, given[place])
        save(tab, config)
    summary = summarise_review(config)
    assert {name: each.complete for name, each in summary.answered.items()} == {"r1": 3, "r2": 3}
    alphas = {criterion: each.agreement.alpha for criterion, each in summary.grades.items()}
    assert alphas == {
        "accuracy": pytest.approx(7 / 9),
        "logic": pytest.approx(1),
        "completeness": None,
        "usefulness": pytest.approx(-2 / 3),
    }


def test_what_is_begun_is_kept_saved_and_taken_up_elsewhere(
    tmp_path: Path, open_browser: Callable[..., BrowserContext]
) -> None:
    config, _ = prepare(tmp_path, questions=4)
    context = open_browser()
    tab = open_page(context, config, "r1", "2")
    trace = ".item:not([hidden]) [data-side=B]"
    give(tab, trace, "logic", 2)
    tab.check(f"{trace} .step:nth-child(2) .wrong input")
    tab.fill(f"{trace} .step:nth-child(2) .why", "too high")
    tab.fill(f"{trace} textarea", WRITTEN)
    assert tab.locator(".places .begun").count() == 1
    # The tab is closed without a word; another one, and one that was open, have it.
    beside = open_page(context, config, "r1", "2")
    give(tab, trace, "accuracy", 5)
    beside.wait_for_selector(f"{trace} [data-criterion=accuracy] :checked", state="attached")
    tab.close()
    again = open_page(context, config, "r1", "2")
    assert again.input_value(f"{trace} textarea") == WRITTEN
    assert again.input_value(f"{trace} .step:nth-child(2) .why") == "too high"
    place = save(again, config)
    assert told(again).endswith("0 of 4 done. Send that file back.")
    saved = json.loads(place.read_text(encoding="utf-8"))
    summary = summarise_review(config)
    assert summary.answered["r1"] == Answered(0, 1, 4, True)
    assert not summary.answered["r2"].returned
    # Another machine.
    elsewhere = open_page(open_browser(), config, "r1", "2")
    assert elsewhere.locator(".places .begun").count() == 0
    elsewhere.set_input_files("#load", place)
    assert told(elsewhere) == "answers-r1.json is loaded."
    assert elsewhere.locator(f"{trace} [data-criterion=logic] :checked").get_attribute("value") == "2"
    moved = json.loads(save(elsewhere, config).read_text(encoding="utf-8"))
    assert moved == saved
    # A question before what is there is replaced; no is no.
    give(elsewhere, trace, "logic", 5)
    with elsewhere.expect_event("dialog") as dialog:
        elsewhere.set_input_files("#load", place)
    dialog.value.dismiss()
    assert elsewhere.locator(f"{trace} [data-criterion=logic] :checked").get_attribute("value") == "5"
    with elsewhere.expect_event("dialog") as dialog:
        elsewhere.set_input_files("#load", place)
    dialog.value.accept()
    elsewhere.wait_for_selector(f"{trace} [data-criterion=logic] [value='2']:checked", state="attached")
    elsewhere.click(".item:not([hidden]) .clear")
    elsewhere.wait_for_function("() => !document.querySelector('.places .begun')")


def test_files_that_are_not_this_pages_are_not_loaded(
    tmp_path: Path, open_browser: Callable[..., BrowserContext]
) -> None:
    config, _ = prepare(tmp_path, questions=4)
    first, second = (open_page(open_browser(), config, name, "1") for name in ("r1", "r2"))
    give(first, ".item:not([hidden]) [data-side=A]", "logic", 3)
    place = save(first, config)
    edited = tmp_path / "edited.json"
    edited.write_text(place.read_text(encoding="utf-8").replace('"logic": 3', '"logic": 5'), encoding="utf-8")
    (tmp_path / "text.json").write_text("{", encoding="utf-8")
    for tab, file, said in (
        (second, place, "answers-r1.json was saved by another page, not by this one."),
        (first, edited, "edited.json was changed after it was saved."),
        (first, tmp_path / "text.json", "text.json is not a file that this page saved."),
    ):
        tab.evaluate("() => { document.getElementById('told').textContent = ''; }")
        tab.set_input_files("#load", file)
        assert told(tab) == said
    assert first.locator(".item:not([hidden]) [data-criterion=logic] :checked").get_attribute("value") == "3"
    assert second.locator(".places .begun").count() == 0


def test_hostile_text_stays_text(tmp_path: Path, open_browser: Callable[..., BrowserContext]) -> None:
    config = make_config(tmp_path, questions=5)
    for name, method in (("one", "graph"), ("two", "plain")):
        poisoned = [
            {
                **row,
                **{field: f"{attack} {row[field]}" for field in ("question", "context", "answer", "reasoning")},
                "options": f"Answer Choices:\nA. {attack}",
                "dataset_name": attack,
            }
            for row, attack in zip(published_rows(5, method), ATTACKS, strict=True)
        ]
        write_dataset(tmp_path / name, poisoned)
    key = prepare_review(config)
    tab = open_page(open_browser(), config, "r1")
    text = tab.evaluate("() => document.querySelector('main').textContent")
    for question in key.sample.questions:
        for held in (question.question, question.context, question.options, question.answer):
            assert " ".join(held.split()) in " ".join(text.split())
        for steps in question.traces.values():
            assert all(" ".join(step.split()) in " ".join(text.split()) for step in steps)
    tags = tab.evaluate("() => [...new Set([...document.querySelectorAll('*')].map(e => e.localName))]")
    assert not set(tags) & {"img", "iframe", "base", "object", "svg"}
    assert tab.evaluate("() => document.querySelectorAll('script').length") == 1
    ids = tab.evaluate("() => [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(set(ids)) == len(ids)
    # A mark that turns the direction of writing ends with the text that has it.
    isolated = "() => [...document.querySelectorAll('bdi')].every(e => getComputedStyle(e).unicodeBidi === 'isolate')"
    assert tab.evaluate(isolated)
    shown = go(tab, "q1")
    tab.check(f"{shown} .step:nth-child(1) .wrong input >> nth=0")
    tab.fill(f"{shown} .why >> nth=0", ATTACKS[0])
    tab.fill(f"{shown} textarea >> nth=0", ATTACKS[2])
    save(tab, config)
    summarise_review(config)
    tab.goto(Path(config.review.uri, SUMMARY_PAGE).as_uri())
    shown = tab.inner_text("body")
    assert ATTACKS[0] in shown
    assert ATTACKS[2] in shown
    assert tab.evaluate("() => document.querySelectorAll('script, img, iframe, base').length") == 0
    assert tab.evaluate("() => window.hacked") is None


def test_by_keyboard_alone(tmp_path: Path, open_browser: Callable[..., BrowserContext]) -> None:
    config, key = prepare(tmp_path, questions=2)
    tab = open_page(open_browser(), config, "r1")
    item = next(iter(key.reviewers["r1"].sides))
    press_until(tab, "Tab", "() => document.activeElement.textContent === 'Begin'")
    tab.keyboard.press("Enter")
    tab.wait_for_function("() => document.activeElement.textContent.startsWith('Question 1 of 2')")
    press_until(tab, "Tab", "() => document.activeElement.type === 'checkbox'")
    tab.keyboard.press("Space")
    tab.keyboard.press("Tab")
    tab.keyboard.type("no dose is given")
    for side in ("A", "B"):
        for criterion in ("accuracy", "logic", "completeness", "usefulness"):
            press_until(tab, "Tab", f"() => document.activeElement.name === '{item}.{side}.{criterion}'")
            tab.keyboard.press("Space")
            tab.keyboard.press("ArrowRight")
    press_until(tab, "Tab", f"() => document.activeElement.name === '{item}.preference'")
    tab.keyboard.press("Space")
    assert tab.inner_text("#progress") == "1 of 2 done"
    press_until(tab, "Tab", "() => document.activeElement.textContent.startsWith('Next')")
    tab.keyboard.press("Enter")
    tab.wait_for_function("() => document.activeElement.textContent.startsWith('Question 2 of 2')")
    held = json.loads(save(tab, config).read_text(encoding="utf-8"))["answers"][item]
    assert held["preference"] == "A"
    assert held["traces"]["A"]["wrong"] == {"1": "no dose is given"}
    for trace in held["traces"].values():
        assert set(trace["grades"].values()) == {2}


def press_until(tab: Tab, pressed: str, condition: str) -> None:
    for _ in range(60):
        tab.keyboard.press(pressed)
        if tab.evaluate(condition):
            return
    pytest.fail(f"{condition} was not reached by {pressed}")


@pytest.mark.parametrize(("width", "height"), [(375, 800), (1280, 900)])
def test_no_view_is_wider_than_the_screen(
    width: int, height: int, tmp_path: Path, open_browser: Callable[..., BrowserContext]
) -> None:
    config = make_config(tmp_path, questions=6)
    long = {
        "question": "x" * 500,
        "answer": "z" * 300,
        "options": f"Answer Choices:\nA. {'o' * 300}",
        "context": "c" * 900,
    }
    for name, method in (("one", "graph"), ("two", "plain")):
        wide, *others = published_rows(6, method)
        write_dataset(tmp_path / name, [{**wide, **long, "reasoning": f"{method[0] * 400}. Then."}, *others])
    prepare_review(config)
    context = open_browser(viewport={"width": width, "height": height})
    for place in ("start", *map(str, range(1, 7))):
        tab = open_page(context, config, "r1", place)
        for side in ("A", "B"):
            if place != "start":
                tab.check(f".item:not([hidden]) [data-side={side}] .step:nth-child(1) .wrong input")
        assert tab.evaluate("() => document.documentElement.scrollWidth") == width
        assert tab.evaluate("() => document.querySelector('.bar').getBoundingClientRect().height") < 90
        tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_in_either_scheme(
    scheme: str, tmp_path: Path, open_browser: Callable[..., BrowserContext]
) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    from tests.report.test_browser import contrast

    config, _ = prepare(tmp_path, questions=1)
    tab = open_page(open_browser(color_scheme=scheme), config, "r1")
    names = "ink muted accent good bad paper raised good-soft bad-soft on-accent".split()
    read = "names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue(`--${n}`).trim())"
    colours = dict(zip(names, tab.evaluate(read, names), strict=True))
    pairs = "ink paper, ink raised, muted paper, muted raised, ink bad-soft, bad bad-soft, bad paper, good good-soft, "
    pairs += "accent paper, on-accent accent"
    for one, ground in map(str.split, pairs.split(", ")):
        assert contrast(colours[one], colours[ground]) >= 4.5, (one, ground)
