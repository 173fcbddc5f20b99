"""What the tests of reports share: a browser to open them in, and a forest that is quick."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.analysis.reporting.browser import Seen, Show

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """One page for all tests here, since a new one would compile plotly anew, which takes a second.

    Not for the whole session: until it is closed, playwright runs an event loop that other tests would meet.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("no chromium on the PATH: install it (Debian: apt-get install chromium); the report is not tested")
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser.new_page(viewport={"width": 1280, "height": 900}, offline=True)
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every report is opened: the browser keeps compiled scripts by address."""
    return tmp_path_factory.mktemp("shown") / "report.html"


@pytest.fixture
def show(page: Page, address: Path, small_forest: None) -> Iterator[Show]:
    """Opens a report, once in a test, and waits until its figures are drawn."""
    seen = Seen(page)
    watch: dict[Any, Callable[[Any], None]] = {
        "console": lambda message: seen.errors.append(f"{message.type}: {message.text}"),
        "pageerror": lambda error: seen.errors.append(str(error)),
        "dialog": lambda dialog: seen.errors.append(dialog.message) or dialog.dismiss(),
        "request": lambda request: seen.requests.append(request.url),
    }
    for event, note in watch.items():
        page.on(event, note)

    def opened(report: Path) -> Seen:
        shutil.copyfile(report, address)
        page.mouse.move(0, 0)  # away from where the test before left it
        page.goto(address.as_uri())
        page.wait_for_function(
            "[...document.querySelectorAll('.plotly-graph-div')].every(div => div.querySelector('.main-svg'))"
        )
        return seen

    yield opened
    for event, note in watch.items():
        page.remove_listener(event, note)


@pytest.fixture(scope="module")
def small_forest() -> Iterator[None]:
    """A small forest for the importance of settings, whose numbers no test here reads: the full one takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.reporting.importance.TREES", 10)
        patch.setattr("analysis.reporting.importance.REPEATS", 2)
        yield
