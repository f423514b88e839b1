"""The report of a run as its readers open it: in Chromium, from a file, with nothing else to reach."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.planted_run import Planter, write_run
from medreason_dist.config import Config, load_config, to_dict
from medreason_dist.report.run import PAGE, write_report
from medreason_dist.storage import Folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext
    from playwright.sync_api import Page as Tab

pytestmark = pytest.mark.slow

ATTACKS = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "\"'><svg onload=window.hacked=1><base href=//evil.example>",
    "{{ 7 * 7 }}</title></style><iframe src=javascript:window.hacked=1></iframe>",
    "javascript:window.hacked=1//\u2028\u2029</text><!-- ${window.hacked=1}`",
)
OPENED = "#list", "#reason=wrong_answer", "#text=patient", "#text=hacked&everything=1"
MATHEMATICAL = "𝛼-synuclein 🧬 Ärzte e\u0301"


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Opens an address in a tab of its own. In the end no script may have failed and nothing but files been asked for."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def opens(address: str, **options: Any) -> Tab:
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("console", lambda message: faults.append(message.text))
        tab.on("request", lambda request: None if request.url.startswith("file:") else faults.append(request.url))
        tab.on("dialog", lambda dialog: faults.append(dialog.message))
        tab.goto(address)
        return tab

    yield opens
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    planter = Planter(5)
    return [planter.row(number) for number in range(130)]


@pytest.fixture(scope="module")
def address(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> str:
    return publish(tmp_path_factory.mktemp("run"), rows)


def publish(folder: Path, rows: list[dict[str, Any]], **manifest: Any) -> str:
    run = Folder(str(folder))
    write_run(run, iter(rows), 50, **manifest)
    write_report(run, audit_rows=1000, price_per_gpu_hour=2.0)
    return (folder / PAGE).as_uri()


def go(tab: Tab, fragment: str) -> None:
    """Follows a link and waits for what it leads to."""
    tab.evaluate(
        "fragment => { document.querySelector('.count').textContent = ''; location.hash = fragment; }", fragment
    )
    view = "question" if "q=" in fragment else "list"
    tab.wait_for_selector(f"#{view}:not([hidden])")
    if view == "list":
        tab.wait_for_function("() => document.querySelector('.count').textContent.endsWith('questions')")
    else:
        tab.wait_for_function("() => document.activeElement.id === 'question'")


def count(tab: Tab) -> str:
    return tab.inner_text(".count").split(" of ")[0]


def poison(value: Any, attack: str, key: str = "") -> Any:
    """Puts an attack into every text of a row but for those of closed lists, after what was there."""
    match value:
        case str() if key not in ("status", "reject_reason", "stage", "side", "linked_by", "dataset"):
            return f"{value} {attack}"
        case dict():
            return {name: poison(held, attack, name) for name, held in value.items()}
        case list():
            return [poison(held, attack, key) for held in value]
    return value


def test_hostile_text_stays_text(
    rows: list[dict[str, Any]], tmp_path: Path, open_tab: Callable[..., Tab], address: str
) -> None:
    poisoned = [poison(row, ATTACKS[number % len(ATTACKS)]) for number, row in enumerate(rows[:60])]
    for row, attack in zip(poisoned, ATTACKS, strict=False):
        row["dataset"] = attack
    more = {
        "decontamination": {attack: attack for attack in ATTACKS},
        "forecast": {"expected": {ATTACKS[0]: ATTACKS[1]}, "actual": {ATTACKS[2]: 1}},
        "versions": {attack: attack for attack in ATTACKS},
        "dropped_by_reason": {ATTACKS[1]: 12},
    }
    folder = tmp_path / "<img src=x onerror=window.hacked=1>"
    tab = open_tab(publish(folder, poisoned, **more))
    assert ATTACKS[0] in tab.inner_text("#overview")
    assert folder.name in tab.inner_text("#overview")
    for fragment in OPENED:
        go(tab, fragment)
    own = open_tab(f"{address}#list")
    own.wait_for_selector(".rows li")
    tags = "() => [...new Set([...document.querySelectorAll('*')].map(e => e.localName))].sort()"
    scripts = "() => document.querySelectorAll('script:not([data-kind])').length"
    seen = 0
    for row in poisoned:
        go(tab, f"#q={tab.evaluate('encodeURIComponent', row['question_id'])}")
        text = tab.evaluate("() => document.querySelector('#question').textContent")
        for held in (row["question"], row["answer"], row["reasoning"], row["reject_detail"], row["model"]):
            assert held is None or text.replace("✓", "").replace("?", "").count(held.replace("?", "")[:20])
        seen += sum(text.count(attack) for attack in ATTACKS)
        assert tab.evaluate(scripts) == 1
        assert not set(tab.evaluate(tags)) & {"img", "iframe", "base", "object", "link"}
        assert tab.evaluate("() => [...document.querySelectorAll('svg [onload], [onerror]')].length") == 0
    assert seen > 20 * len(poisoned)
    assert tab.evaluate("() => window.hacked") is None


def test_a_script_that_got_into_the_page_would_not_run(address: str, browser: Browser) -> None:
    context = browser.new_context()
    tab = context.new_page()
    asked: list[str] = []
    tab.on("requestfinished", lambda request: asked.append(request.url))
    tab.goto(address)
    tab.evaluate(
        """() => {
          document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}));
          document.body.insertAdjacentHTML('beforeend', '<img src="http://127.0.0.1:9/x" onerror="window.hacked = 1">');
        }"""
    )
    tab.wait_for_timeout(200)
    assert tab.evaluate("() => window.hacked") is None
    assert all(url.startswith("file:") for url in asked)
    context.close()


def test_places_in_code_points_mark_what_they_mean(tmp_path: Path, open_tab: Callable[..., Tab]) -> None:
    row = next(row for row in map(Planter(3).row, range(50)) if row["status"] == "accepted")
    texts = [f"🧪🧪 First {MATHEMATICAL} helps.", "𝛽 is none 😀.", "Then gout."]
    reasoning = " ".join(texts)
    starts = [reasoning.index(text) for text in texts]
    name = reasoning.index(MATHEMATICAL)
    claims = {"src": 1, "dst": 2, "on_path": True}
    row |= {
        "question": f"𝛼 before ({MATHEMATICAL}) and gout, cat? CAT.",
        "mentions": [
            {"text": text, "side": "question", "type": "disease", "found_by": "engine"}
            for text in (MATHEMATICAL, "GOUT", "CAT", "(", "")
        ],
        "reasoning": reasoning,
        "grounding": {
            "coverage": 0.5,
            "named": [
                {"node_index": 1, "name": "x", "start": name, "end": name + len(MATHEMATICAL), "on_path": True},
                {"node_index": 2, "name": "y", "start": starts[2] + 5, "end": starts[2] + 9, "on_path": False},
            ],
            "steps": [
                {"start": start, "end": start + len(text), "claims": held}
                for start, text, held in zip(
                    starts,
                    texts,
                    ([claims | {"relations": "target"}], [], [claims | {"relations": None}]),
                    strict=True,
                )
            ],
        },
    }
    tab = open_tab(f"{publish(tmp_path, [row])}#q={row['question_id']}")
    tab.wait_for_selector(".reasoning")
    read = "selector => [...document.querySelectorAll(selector)].map(e => e.textContent)"
    assert tab.evaluate(read, ".reasoning mark.on-path") == [MATHEMATICAL]
    assert tab.evaluate(read, ".reasoning mark.off-path") == ["gout"]
    assert tab.evaluate(read, ".reasoning .step") == [f"{texts[0]}✓", texts[1], f"{texts[2]}?"]
    assert tab.evaluate(read, ".reasoning .supported") == [f"{texts[0]}✓"]
    assert tab.evaluate(read, ".reasoning .unsupported") == [f"{texts[2]}?"]
    assert tab.evaluate(read, ".reasoning") == [" ".join([f"{texts[0]}✓", texts[1], f"{texts[2]}?"])]
    assert tab.evaluate(read, "#question .text mark.question") == [MATHEMATICAL, "gout", "CAT"]


def test_filters_search_and_pages(rows: list[dict[str, Any]], address: str, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(f"{address}#list")
    tab.wait_for_selector(".rows li")
    assert (count(tab), tab.locator(".rows li").count()) == ("130", 25)
    medqa = [row for row in rows if row["dataset"] == "medqa" and row["status"] == "rejected"]
    tab.select_option("[name=dataset]", "medqa")
    tab.select_option("[name=status]", "rejected")
    tab.wait_for_function(f"() => document.querySelector('.count').textContent.startsWith('{len(medqa)} of')")
    assert tab.evaluate("() => location.hash") == "#dataset=medqa&status=rejected"
    none_given = sum(row["subject"] is None for row in rows)
    for fragment, expected in (
        ("#reason=wrong_answer", sum(row["reject_reason"] == "wrong_answer" for row in rows)),
        ("#subject=%28none+given%29", none_given),
        (f"#text={rows[7]['question_id'][:12].upper()}", 1),
        (f"#text={rows[7]['answer'].replace(' ', '+')}", sum(holds(row, rows[7]["answer"]) for row in rows)),
        ("#text=planted%2Fmodel", 0),
        ("#text=planted%2Fmodel&everything=1", 130),
        ("#text=linked_by&everything=1", 0),
        ("#page=6", 130),
    ):
        go(tab, fragment)
        assert count(tab) == str(expected), fragment
    assert tab.locator(".rows li").count() == 5
    assert tab.evaluate("() => document.querySelector('.rows').start") == 126
    tab.click("text=← Previous")
    tab.wait_for_function("() => document.querySelectorAll('.rows li').length === 25")
    assert "page=5" in tab.url
    tab.fill("[type=search]", "no such words")
    tab.wait_for_function("() => document.querySelector('.count').textContent.startsWith('0 of')")
    assert tab.evaluate("() => document.activeElement.name") == "text"


def holds(row: dict[str, Any], words: str) -> bool:
    text = f"{row['question']}\n{row['answer']}\n{row['question_id']}".lower()
    return all(word in text for word in words.lower().split())


def test_a_question_has_a_link_and_neighbors(
    rows: list[dict[str, Any]], address: str, open_tab: Callable[..., Tab]
) -> None:
    wrong = [row["question_id"] for row in rows if row["reject_reason"] == "wrong_answer"]
    tab = open_tab(f"{address}#q={wrong[1]}&reason=wrong_answer")
    tab.wait_for_selector("#question h1")
    assert "Rejected: wrong_answer" in tab.inner_text("#question")
    assert f"id {wrong[1]}" in tab.inner_text("#question")
    tab.click("text=Next →")
    tab.wait_for_function(f"() => document.querySelector('#question').textContent.includes('{wrong[2]}')")
    tab.go_back()
    tab.wait_for_function(f"() => document.querySelector('#question').textContent.includes('{wrong[1]}')")
    tab.click("text=All questions")
    tab.wait_for_function("() => document.querySelector('.count').textContent.endsWith('questions')")
    assert count(tab) == str(len(wrong))
    go(tab, "#q=unknown")
    assert "report.audit_rows" in tab.inner_text("#question")


def test_the_drawing_has_the_paths(rows: list[dict[str, Any]], address: str, open_tab: Callable[..., Tab]) -> None:
    row = next(row for row in rows if row["status"] == "accepted")
    tab = open_tab(f"{address}#q={row['question_id']}")
    tab.wait_for_selector(".drawing")
    nodes = {node for path in row["paths"] for node in path["nodes"]}
    edges = {edge for path in row["paths"] for edge in zip(path["nodes"], path["nodes"][1:], strict=False)}
    assert tab.locator(".drawing .node").count() == len(nodes)
    assert tab.locator(".drawing path.edge").count() == len(edges)
    titles = tab.evaluate("() => [...document.querySelectorAll('.drawing .node > title')].map(e => e.textContent)")
    assert sorted(titles) == sorted({name for path in row["paths"] for name in path["names"]})
    boxes = tab.evaluate(
        "() => [...document.querySelectorAll('.drawing rect')].map(r => [r.x.baseVal.value, r.y.baseVal.value])"
    )
    assert len({tuple(box) for box in boxes}) == len(nodes)
    tab.focus(".paths li:nth-child(1)")
    assert tab.locator(".drawing .node.on").count() == len(row["paths"][0]["nodes"])
    assert tab.locator(".drawing text.edge.on").count() == len(row["paths"][0]["nodes"]) - 1
    tab.focus("#question")
    assert tab.locator(".drawing.chosen").count() == 0


def test_a_question_without_a_graph_shows_none(
    rows: list[dict[str, Any]], open_tab: Callable[..., Tab], tmp_path: Path
) -> None:
    row = next(row for row in rows if row["status"] == "accepted")
    nothing: dict[str, Any] = {"mentions": [], "question_entities": [], "answer_entities": [], "paths": []}
    config = to_dict(load_config(Config, None, ["run.method=plain_cot"]))
    tab = open_tab(publish(tmp_path, [row | nothing | {"grounding": None}], config=config) + f"#q={row['question_id']}")
    tab.wait_for_selector("#question h1")
    headings = tab.evaluate("() => [...document.querySelectorAll('#question h2')].map(e => e.textContent)")
    assert headings == ["Question", "Reasoning", "What it took"]
    assert "stands on the graph" not in tab.inner_text("#question")


@pytest.mark.parametrize(("width", "height"), [(375, 800), (1280, 900)])
def test_no_view_is_wider_than_the_screen(
    width: int, height: int, rows: list[dict[str, Any]], address: str, open_tab: Callable[..., Tab], tmp_path: Path
) -> None:
    long = rows[0] | {"question": "x" * 500, "subject": "y" * 300, "answer": "z" * 300, "reject_detail": "d" * 300}
    long |= {"options": [{"label": "A", "text": "o" * 300}], "reasoning": "r" * 500, "grounding": None}
    wide = publish(tmp_path, [long], fingerprints={"config": "f" * 200})
    for place, row in ((address, next(row for row in rows if row["paths"])), (wide, long)):
        tab = open_tab(place, viewport={"width": width, "height": height})
        for fragment in ("#overview", "#list", f"#q={row['question_id']}"):
            if fragment != "#overview":
                go(tab, fragment)
            assert tab.evaluate("() => document.documentElement.scrollWidth") == width, (place, fragment)


def test_by_keyboard_alone(address: str, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(address)
    for _ in range(2):
        tab.keyboard.press("Tab")
    assert tab.evaluate("() => document.activeElement.textContent") == "Questions"
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".rows li")
    tab.wait_for_function("() => document.activeElement.id === 'list'")
    tab.keyboard.press("Tab")
    assert tab.evaluate("() => document.activeElement.name") == "text"
    for _ in range(6):
        tab.keyboard.press("Tab")
    assert tab.evaluate("() => document.activeElement.closest('.rows') !== null")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#question h1")
    assert tab.get_attribute("main > nav a:nth-child(2)", "aria-current") == "page"


def test_a_browser_without_the_fast_decoder(address: str, browser: Browser) -> None:
    context = browser.new_context()
    context.add_init_script("delete Uint8Array.fromBase64")
    tab = context.new_page()
    tab.goto(f"{address}#list")
    tab.wait_for_selector(".rows li")
    assert count(tab) == "130"
    context.close()


def test_without_javascript_the_overview_is_there(address: str, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(address, java_script_enabled=False)
    assert "needs JavaScript" in tab.inner_text("#overview")
    assert "From rows read to accepted rows" in tab.inner_text("#overview")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: str, address: str, open_tab: Callable[..., Tab]) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    tab = open_tab(address, color_scheme=scheme)
    names = "ink muted accent good bad paper raised good-soft bad-soft mark mark-answer".split()
    read = "names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue(`--${n}`).trim())"
    colours = dict(zip(names, tab.evaluate(read, names), strict=True))
    pairs = [("ink", ground) for ground in ("paper", "raised", "good-soft", "bad-soft", "mark", "mark-answer")]
    pairs += [("muted", "paper"), ("muted", "raised"), ("accent", "paper"), ("good", "good-soft"), ("bad", "bad-soft")]
    pairs += [("muted", "good-soft"), ("muted", "bad-soft"), ("good", "paper"), ("bad", "paper")]
    ratios = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert min(ratios.values()) >= 4.5, json.dumps({f"{a} on {b}": r for (a, b), r in ratios.items() if r < 4.5})


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
