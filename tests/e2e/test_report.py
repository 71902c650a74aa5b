"""`lab run --report`: three files that say the same; the page in a real browser, with nothing but itself."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from support import junit
from support.commands import lab

pytestmark = pytest.mark.root

CHROMIUM = "/usr/bin/chromium"
SCENARIO = '''
    """What is <seen> of a ping & who says so."""
    import pytest
    from scapy.layers.inet import ICMP

    @pytest.mark.lab("two-hosts", mtu=1400)
    def test_ping(lab, report_table):
        """A ping is answered."""
        with lab.capture("a:eth0", filter="icmp") as wire:
            lab["a"].run(["ping", "-c1", "10.0.0.2"])
            wire.expect(lambda p: ICMP in p and p[ICMP].type == 0, "an echo reply")
        lab["a"].sysctl["net.ipv4.ip_default_ttl"] = 9
        report_table("round <trips>", ("packet", "ms"), [(1, 0.5)])

    @pytest.mark.lab("two-hosts")
    def test_unheard(lab):
        """A ping over a cable that is down is answered."""
        with lab.capture("a:eth0", filter="icmp6") as wire:
            lab["b"].run(["ip", "link", "set", "eth0", "down"])
            print("<script>document.title = 'broken'</script>")
            lab["a"].run(["ping", "-c1", "-W1", "-n", "10.0.0.2"])

    def test_skipped():
        """It is skipped."""
        pytest.skip("not <today>")
'''


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "test_mine.py").write_text(textwrap.dedent(SCENARIO))
    (folder / "test_other.py").write_text("def test_it():\n    '''It holds alone.'''\n")
    said = lab("run", folder, "-j", "2", "--report", folder / "new" / "out", "--junit", folder / "mine.xml")
    assert (said.status, said.stderr) == (1, "")
    assert said.stdout.splitlines()[-1] == f"report: {folder}/new/out/index.html"
    return folder / "new" / "out"


@pytest.fixture(scope="module")
def data(report: Path) -> Any:
    return json.loads((report / "run.json").read_text())["data"]


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@contextmanager
def opened(report: Path, **options: Any) -> Iterator[Page]:
    """The page, which must have made no request but for itself, and no error, when the block ends."""
    with chromium() as browser:
        found: list[str] = []
        page = browser.new_page(**options)
        page.on("console", lambda message: found.append(message.text))
        page.on("pageerror", lambda error: found.append(str(error)))
        page.on("request", lambda request: found.append(request.url))
        page.goto((report / "index.html").as_uri())
        yield page
        assert found == [(report / "index.html").as_uri()]


def words(text: str | None) -> str:
    return " ".join((text or "").split())


def test_the_page_shows_what_the_json_says(report: Path, data: Any) -> None:
    with opened(report) as page:
        assert words(page.locator("h1").text_content()) == page.title() == data["verdict"]
        assert page.locator("details.check").count() == len(data["checks"])
        for at, check in enumerate(data["checks"]):
            shown = page.locator(f"#check-{at}")
            assert check["outcome"] in (shown.get_attribute("class") or "").split()
            assert words(shown.locator("> summary .title").text_content()) == check["title"]
            whole = words(shown.text_content())
            said = [check["name"], check["message"], check["detail"], *check["evidence"].items()]
            for text in (each for part in said for each in ([part] if isinstance(part, str) else part)):
                if not text.startswith(("what was done", "frames at")) and text not in _shown_otherwise(check):
                    assert words(text) in whole
            assert shown.locator(".steps tbody tr").count() == len(check["steps"])
            for row, step in zip(shown.locator(".steps tbody tr").all(), check["steps"], strict=True):
                assert words(f"{step['kind']} {step['what']} {step['outcome']}") in words(row.text_content())
            frames = [frame for capture in check["captures"] for frame in capture["frames"]]
            assert shown.locator(".frame").count() == len(frames)
            for element, frame in zip(shown.locator(".frame").all(), frames, strict=True):
                told = words(element.text_content())
                assert all(words(frame[key]) in told for key in ("interface", "direction", "summary", "dissection"))
            for title, table in check["tables"].items():
                assert words(shown.locator(".measured caption").text_content()) == words(title)
                assert shown.locator(".measured td").all_text_contents() == [cell for row in table["rows"] for cell in row]


def _shown_otherwise(check: Any) -> list[str]:
    return [text for title, text in check["evidence"].items() if title.startswith(("what was done", "frames at"))]


def test_a_strict_reader_takes_the_junit_file(report: Path) -> None:
    found = junit.read(report / "junit.xml")
    assert found == {"test_ping": "held", "test_unheard": "failure", "test_skipped": "skipped", "test_it": "held"}


def test_the_json_has_what_was_done_and_seen(data: Any) -> None:
    held, failed, skipped, other = data["checks"]
    assert [(step["kind"], step["what"]) for step in held["steps"]] == [
        ("run", "ping -c1 10.0.0.2"),
        ("set", "net.ipv4.ip_default_ttl = 9"),
    ]
    (capture,) = held["captures"]
    assert [(frame["direction"], "echo-" in frame["summary"]) for frame in capture["frames"]] == [
        ("sends", True),
        ("receives", True),
    ]
    assert "###[ ICMP ]###" in capture["frames"][0]["dissection"]
    assert held["topology"]["params"] == {"mtu": "1400"}
    assert failed["steps"][-1]["outcome"].startswith("CommandError: ")
    assert failed["evidence"]["what was done"].splitlines()[0].endswith(" ms")
    assert "frames at a:eth0 (icmp6)" in failed["evidence"]
    assert (skipped["steps"], other["steps"]) == ([], [])
    assert data["scenarios"][0]["title"] == "What is <seen> of a ping & who says so"


def test_failures_are_first_and_open_and_the_topology_is_drawn_as_it_was(report: Path) -> None:
    with opened(report) as page:
        first = page.locator("details.check").first
        assert first.locator("> summary .title").text_content() == "A ping over a cable that is down is answered"
        assert first.locator("svg.lab-picture").is_visible()
        assert "down" in (first.locator("svg.lab-picture").text_content() or "")
        assert page.locator("section.of-scenario svg.lab-picture").first.is_visible()
        assert not page.locator("details.check.held .body").first.is_visible()


def test_a_check_unfolds_also_without_javascript(report: Path) -> None:
    with opened(report, java_script_enabled=False) as page:
        held = page.locator("details.check.held").first
        held.locator("> summary").click()
        assert held.locator(".measured").is_visible()
        held.locator("details.capture > summary").click()
        held.locator("details.frame > summary").first.click()
        assert held.locator("details.frame pre").first.is_visible()


def test_a_bar_of_the_time_line_leads_to_its_check(report: Path) -> None:
    with opened(report) as page:
        bar = page.locator(".timeline .bar.failed")
        box = bar.bounding_box()
        assert box is not None
        assert box["width"] > 3
        bar.click()
        assert page.url.endswith(f"#{page.locator('details.check.failed').get_attribute('id')}")


@pytest.mark.parametrize(("scheme", "light"), [("light", True), ("dark", False)])
def test_it_follows_the_readers_choice_of_light_or_dark(report: Path, scheme: Any, light: bool) -> None:
    with opened(report, color_scheme=scheme) as page:
        said = page.evaluate("getComputedStyle(document.body).backgroundColor")
        channels = [int(each) for each in said.removeprefix("rgb(").removesuffix(")").split(",")]
        assert (sum(channels) > 600) == light


def test_nothing_runs_over_the_side_of_a_narrow_window(report: Path) -> None:
    with opened(report, viewport={"width": 380, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_both_junit_files_say_the_same_as_the_json(report: Path, data: Any) -> None:
    texts = {(report / "junit.xml").read_text(), (report.parents[1] / "mine.xml").read_text()}
    (text,) = texts
    assert [case.attrib["name"] for case in ElementTree.fromstring(text).iter("testcase")] == [
        check["name"] for check in data["checks"]
    ]


def test_a_folder_that_cannot_be_made_is_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = lab("run", "rp-filter", "--report", tmp_path / "file" / "out")
    assert (said.status, said.stdout) == (2, "")
    assert "cannot be made: Not a directory" in said.stderr
