"""The page in Chromium: everything that a person does with hands and eyes."""

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from cli.web.settings import Settings
from tests.cli.web.browser_fixtures import chromium, launched, serving
from tests.cli.web.conftest import picture
from tests.program import draw_photos

pytest.importorskip("playwright", reason="the page is tested in Chromium by playwright")
if chromium() is None:
    pytest.skip("there is no chromium; on Debian: apt install chromium", allow_module_level=True)

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

TILES = ".tile .photo"
BOX = re.compile(r"like=\d+@[\d.]+,[\d.]+,[\d.]+,[\d.]+")
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(settings: Settings) -> Iterator[str]:
    """The served index, four photos at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cli.web.pages.AT_ONCE", 4)
        with serving(settings) as site:
            yield site


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Open]:
    """Opens pages; nothing on them may go wrong unseen."""
    pages: list[Page] = []
    problems: list[str] = []

    def visit(path: str = "/", *, site: str = site, quiet: bool = False, **options: Any) -> Page:
        options = {"viewport": {"width": 1200, "height": 800}, **options}
        page = browser.new_page(**options)
        page.set_default_timeout(30_000)
        if not quiet:
            page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        pages.append(page)
        page.goto(site + path)
        return page

    yield visit
    for page in pages:
        page.close()
    assert problems == []


def address(page: Page) -> str:
    """Path and query."""
    return re.sub(r"^https?://[^/]+", "", page.url)


# searching


def test_typing_a_phrase_shows_photos_with_boxes_and_more_as_one_scrolls(visit: Open) -> None:
    page = visit()
    page.fill("#q", "a dog")
    page.press("#q", "Enter")
    page.wait_for_url("**/?q=a+dog")
    expect(page.locator(TILES)).to_have_count(8)  # 4, and those that come as the end is near
    expect(page.locator("rect.box")).to_have_count(8)
    ids = page.locator(".tile").evaluate_all("tiles => tiles.map((tile) => tile.dataset.id)")
    assert len(set(ids)) == 8
    expect(page.locator(".further")).to_have_count(0)
    assert (
        page.locator(TILES)
        .first.locator("img")
        .evaluate("image => image.decode().then(() => image.naturalWidth)")
        > 0
    )


@pytest.mark.parametrize("path", ["/?q=a+dog&q=a+cup&start=4", "/photos/1?q=a+dog", "/history"])
def test_nothing_jumps_while_photos_load(visit: Open, path: str) -> None:
    page = visit(path)
    page.wait_for_load_state("networkidle")
    shifts = page.evaluate(
        """() => new Promise((done) => {
            const of = ({ node, previousRect, currentRect }) =>
                [node?.outerHTML ?? node?.nodeName, previousRect.toJSON(), currentRect.toJSON()];
            const told = (list) => done(list.getEntries().map(({ value, sources }) =>
                [value, sources.map(of)]));
            new PerformanceObserver(told).observe({ type: "layout-shift", buffered: true });
            setTimeout(() => done([]), 200);
        })"""
    )
    # What browsers call good: a slow machine lays a page out before its scroll bar is known.
    assert sum(value for value, _ in shifts) <= 0.1, shifts


def test_phrases_are_chips_that_can_be_weighed_turned_round_and_removed(visit: Open) -> None:
    page = visit("/?q=a+dog")
    page.fill("#q", "a cup")
    page.press("#q", "Enter")
    page.wait_for_url("**/?q=a+dog&q=a+cup")
    expect(page.locator(".chip")).to_have_count(2)
    page.click(".chip.c0 summary")
    page.click(".chip.c0 .menu >> text=counts 2 times")
    page.wait_for_url("**/?q=2:a+dog&q=a+cup")
    expect(page.locator(".chip.c0")).to_contain_text("×2")
    page.click(".chip.c1 summary")
    page.click(".chip.c1 .menu >> text=photos must not show it")
    page.wait_for_url("**/?q=2:a+dog&not=a+cup")
    expect(page.locator(".chip.off")).to_contain_text("not a cup")
    page.click(".chip.off .x")
    page.wait_for_url("**/?q=2:a+dog")
    page.focus("#q")
    page.keyboard.press("Backspace")
    expect(page.locator("#q")).to_have_value("2:a dog")
    page.fill("#q", "a man")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=a+man")


def test_the_panel_asks_again_stays_open_and_goes_back(visit: Open) -> None:
    page = visit("/?q=a+dog&q=a+cup")
    page.click(".more-word")
    expect(page.locator("#meaning li.on")).to_contain_text("Nothing is left out")
    page.focus("#min_score")
    page.keyboard.press("End")
    page.wait_for_url("**min_score=8*")
    expect(page.locator("#meaning li.on")).to_contain_text("9995 of 10000")
    expect(page.locator(".said")).to_contain_text("scoring 8 or more")
    page.click("text=each in a place of its own")
    page.wait_for_url("**together=and*")
    page.select_option("[name=related]", "below")
    page.fill("[name=related_to]", "a man")
    page.keyboard.press("Enter")
    page.wait_for_url("**below=a+man*", wait_until="commit")
    asked = {("q", "a dog"), ("q", "a cup"), ("together", "and"), ("min_score", "8")}
    assert set(parse_qsl(urlsplit(page.url).query)) == {*asked, ("below", "a man")}
    page.wait_for_load_state()  # a page that is still coming cannot be left backwards
    page.go_back()
    assert set(parse_qsl(urlsplit(page.url).query)) == asked


def test_a_bar_of_the_histogram_asks_about_its_photos(visit: Open) -> None:
    page = visit("/?q=a+dog")
    page.click(".more-word")
    page.click("[aria-label='2021-03: 1']")
    page.wait_for_url("**after=2021-03&before=2021-04*")
    expect(page.locator(TILES)).to_have_count(1)
    expect(page.locator(".said")).to_contain_text("taken from 2021-03 on")


def test_back_goes_to_the_question_before(visit: Open) -> None:
    page = visit("/?q=a+dog")
    page.fill("#q", "a cup")
    page.press("#q", "Enter")
    page.wait_for_url("**q=a+cup")
    page.go_back()
    assert address(page) == "/?q=a+dog"
    expect(page.locator(".chip")).to_have_count(1)
    page.go_forward()
    expect(page.locator(".chip")).to_have_count(2)


# one photo


def test_a_photo_opens_with_its_regions_under_the_pointer(visit: Open) -> None:
    page = visit("/?q=a+dog")
    page.click(f"{TILES} >> nth=1")
    page.wait_for_url("**/photos/*")
    page.hover(".spots-list li >> nth=2")
    on = page.locator("rect.spot.on")
    expect(on).to_have_count(1)
    expect(page.locator(".tag")).to_contain_text("objectness")
    expect(page.locator(".tag")).to_contain_text("score")
    page.locator("rect.spot").last.dispatch_event("pointermove")
    expect(page.locator(".spots-list li.on")).to_have_count(1)
    assert page.locator(".terms tr").count() >= 4
    page.keyboard.press("Escape")
    page.wait_for_url("**/?q=a+dog")
    expect(page.locator(TILES).nth(1)).to_be_focused()


def test_a_box_is_drawn_to_find_more_like_it(visit: Open) -> None:
    page = visit("/?q=a+dog")
    page.click(f"{TILES} >> nth=0")
    page.wait_for_url("**/photos/*")
    number = re.findall(r"/photos/(\d+)", page.url)[0]
    drawing = page.locator("svg.spots").get_attribute("viewBox")
    wide, high = map(float, str(drawing).split()[2:])
    frame = page.locator("svg.spots").bounding_box()
    assert frame is not None
    x, y, width, height = (frame[name] for name in ("x", "y", "width", "height"))
    page.mouse.move(x + width * 0.25, y + height * 0.25)
    page.mouse.down()
    page.mouse.move(x + width * 0.6, y + height * 0.5, steps=4)
    page.mouse.move(x + width * 0.75, y + height * 0.75)
    expect(page.locator(".drawn")).to_have_count(1)
    page.mouse.up()
    expect(page.locator(".tag.act a").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".tag, .drawn")).to_have_count(0)
    page.mouse.down()
    page.mouse.move(x + width * 0.25, y + height * 0.25, steps=4)
    page.mouse.up()
    page.click("text=Add it to the question")
    page.wait_for_url(BOX)
    edges = [float(edge) for edge in re.findall(r"@([\d.,]+)", page.url)[0].split(",")]
    assert edges == pytest.approx([wide / 4, high / 4, wide * 0.75, high * 0.75], rel=0.03)
    expect(page.locator(".chip")).to_have_count(2)
    expect(page.locator(f'.tile[data-id="{number}"]')).to_have_count(0)
    page.go_back()
    page.locator("rect.spot").last.click(force=True)
    page.click("text=More like this")
    page.wait_for_url(BOX)
    expect(page.locator(".chip")).to_have_count(1)


def test_a_caption_is_asked_by_a_click(visit: Open) -> None:
    page = visit("/photos/1")
    caption = page.locator("a.caption").first
    said = caption.inner_text()
    caption.click()
    page.wait_for_url("**/?q=*")
    expect(page.locator(".chip")).to_contain_text(said)


# the keyboard alone


def test_everything_is_reached_by_the_keyboard(visit: Open) -> None:
    page = visit()
    page.keyboard.press("/")
    page.keyboard.type("a dog")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=a+dog")
    expect(page.locator(TILES)).to_have_count(8)
    page.keyboard.press("ArrowDown")
    expect(page.locator(TILES).first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(TILES).nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.getBoundingClientRect().top")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") < below
    expect(page.locator(TILES).nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/photos/*rank=2")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/photos/*rank=3")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/photos/*rank=2")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/photos/*rank=3")
    page.keyboard.press("Escape")
    page.wait_for_url("**/?q=a+dog")
    expect(page.locator(TILES).nth(2)).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()


# pictures that are not in the index


def put(page: Page, kind: str) -> None:
    """Drops a picture on the page, or pastes it."""
    page.evaluate(
        """([kind, data]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const files = new DataTransfer();
            files.items.add(new File([bytes], "new.png", { type: "image/png" }));
            const event = kind === "paste"
                ? new ClipboardEvent("paste", { clipboardData: files, bubbles: true })
                : new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
        }""",
        [kind, base64.b64encode(picture()).decode()],
    )


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_picture_is_asked_with(visit: Open, way: str, tmp_path: Path) -> None:
    page = visit()
    if way == "drop":
        put(page, "dragover")
        expect(page.locator(".drop")).to_be_visible()
        put(page, "drop")
    elif way == "paste":
        put(page, "paste")
    else:
        (tmp_path / "new.png").write_bytes(picture())
        page.set_input_files("[type=file]", tmp_path / "new.png")
    page.wait_for_url("**/uploads/*")
    expect(page.locator("h2").first).to_have_text("new.png")
    page.locator(".spots-list .like").first.click()
    page.wait_for_url("**/?like=u-*")
    expect(page.locator(TILES)).to_have_count(8)


def test_what_is_no_picture_is_told_on_the_page(visit: Open, tmp_path: Path) -> None:
    page = visit(quiet=True)
    (tmp_path / "text.png").write_text("no picture")
    page.set_input_files("[type=file]", tmp_path / "text.png")
    expect(page.locator("#alarm")).to_contain_text("it is not a photo of a kind that can be read")


# news, and a server that is gone


def test_the_status_page_follows_a_run_live(
    visit: Open, settings: Settings, tmp_path: Path
) -> None:
    draw_photos(tmp_path / "photos", 3)
    fresh = replace(settings, database=str(tmp_path / "n.db"), folders=(tmp_path / "photos",))
    with serving(fresh) as site:
        page = visit("/status", site=site)
        expect(page.locator(".message")).to_contain_text("make one with: dcsearch index PHOTOS")
        page.click("button:has-text('Index')")
        expect(page.locator("#run")).to_contain_text("3 photos indexed")
        expect(page.locator("[data-count=done]")).to_have_text("3")
        page.close()


def test_a_server_that_is_gone_is_told_and_nothing_typed_is_lost(
    visit: Open, settings: Settings
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cli.web.pages.AT_ONCE", 4)
        with serving(settings) as site:
            page = visit("/?q=a+dog", site=site, quiet=True, viewport={"width": 300, "height": 200})
            page.wait_for_load_state("networkidle")
    page.fill("#q", "a cup")
    page.press("#q", "Enter")
    alarm = page.locator("#alarm")
    expect(alarm).to_contain_text("The server does not answer. Start it again with: dcsearch serve")
    expect(alarm.locator("button")).to_be_visible()
    expect(page.locator("#q")).to_have_value("a cup")
    assert address(page) == "/?q=a+dog"


# without a script


def test_a_plain_search_needs_no_script(visit: Open) -> None:
    page = visit(java_script_enabled=False)
    page.fill("#q", "a dog")
    page.press("#q", "Enter")
    page.wait_for_url("**/?q=a+dog")
    expect(page.locator(TILES)).to_have_count(4)
    expect(page.locator("rect.box")).to_have_count(4)
    boxes = [tile.bounding_box() for tile in page.locator(TILES).all()]
    assert all(box and box["width"] > 50 and box["height"] > 50 for box in boxes)
    page.click("text=More photos")
    expect(page.locator(TILES)).to_have_count(4)
    page.fill("#q", "a cup")
    page.press("#q", "Enter")
    page.wait_for_url("**/?q=a+dog&q=a+cup")
    page.click(f"{TILES} >> nth=0")
    expect(page.locator("rect.spot").first).to_be_attached()
    page.click("text=Results")
    page.wait_for_url("**/?q=a+dog&q=a+cup")


# every page, in both themes, narrow and wide

PAGES = (
    *("/", "/?q=a+dog&q=2:a+cup&not=a+man", "/photos/1?q=a+dog", "/history", "/status"),
    *("/?q=a+dog&min_score=99", "/nothing", "/?q=a+dog&count=x"),
)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_keeps_anybody_out(visit: Open, theme: str) -> None:
    page = visit(color_scheme=theme, quiet=True)
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 20, 21)"}[theme]
    for path in PAGES:
        page.goto(re.sub(r"(://[^/]+).*", rf"\1{path}", page.url))
        if page.locator(".more-word").count():
            page.click(".more-word")
        found = Axe().run(page).response["violations"]
        assert [
            (path, each["id"], [node["html"] for node in each["nodes"]]) for each in found
        ] == []


@pytest.mark.parametrize("width", [360, 2560])
def test_no_page_is_too_wide_or_has_letters_in_each_other(visit: Open, width: int) -> None:
    page = visit(viewport={"width": width, "height": 740}, quiet=True)
    for path in PAGES:
        page.goto(re.sub(r"(://[^/]+).*", rf"\1{path}", page.url))
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert (path, wide <= width) == (path, True)
        for box in page.locator(TILES).all():
            frame = box.bounding_box()
            assert frame is not None
            assert frame["width"] >= 40
            assert frame["x"] >= 0
            assert frame["x"] + frame["width"] <= width
