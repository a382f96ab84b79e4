"""The live page in a real browser: it draws, lists, answers to keys, and says when it is cut off."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from stream.event import Event, Status, event_id
from stream.frame import Frame
from stream.lineage import Tracks
from stream.watch.chromium import Chromium
from stream.watch.server import Server
from stream.watch.state import LiveState

FIELDS = ("Camera:p0", "Camera:p1")
DRAWN = "+document.querySelector('#canvas').dataset.drawn"
BANNER = "document.querySelector('#banner')"


class Movie(threading.Thread):
    """Three cells that wander through two fields at 20 frames/s until the movie is closed; dark in denoised pixels."""

    def __init__(self, live: LiveState) -> None:
        super().__init__(daemon=True)
        self._live, self._closed, self._number = live, threading.Event(), 0

    def run(self) -> None:
        while not self._closed.wait(0.05):
            self._number += 1
            for field in FIELDS:
                self._step(field, self._number)

    def _step(self, field: str, number: int) -> None:
        labels = np.zeros((200, 240), np.int32)
        yx = np.array([[50 + 60 * k, 40 + (7 * number + 50 * k) % 160] for k in range(3)], np.float64)
        for k, (y, x) in enumerate(yx):
            cv2.circle(labels, (int(x), int(y)), 14, k + 1, -1)
        pixels = (100 + 400 * (labels > 0)).astype(np.uint16)
        frame = Frame("run", "Camera", "s", 1, number, field, number, pixels)
        ids = np.arange(1, 4, dtype=np.int64)
        um, still = frame.to_stage_um(yx), np.zeros((3, 2))
        tracks = Tracks(ids, ids * 0, ids * 0, ids * 0, np.zeros(3, np.int8), ids.astype(np.int32), um, still)
        self._live.frame(frame)
        self._live.denoised(field, number, 600 - pixels)
        self._live.labels(field, number, labels)
        self._live.tracks(field, number, tracks)
        self._live.latency({"segment": 4.0}, 12.0)

    def close(self) -> None:
        self._closed.set()
        self.join()


def division(revision: int, status: Status) -> Event:
    name = event_id(FIELDS[0], 1, "division", 3)
    spots = ((40.0, 30.0), (40.0, 50.0))
    return Event("division", name, revision, status, FIELDS[0], 1, 1 + revision, 0.9, 3, (8, 9), (40.0, 40.0), spots)


@pytest.fixture
def live() -> Iterator[LiveState]:
    state = LiveState("tonight")
    movie = Movie(state)
    movie.start()
    yield state
    movie.close()


@pytest.fixture
def server(live: LiveState, browser: Chromium) -> Iterator[Server]:
    live.status({"rig": "running", "nodes": {"acquire": True}, "interval_ms": 50})
    served = Server(live, port=0)
    browser.resize((1280, 800))
    browser.open(f"http://127.0.0.1:{served.start()}/")
    browser.until(f"{DRAWN} >= 3")
    yield served
    served.stop()


def pixels_where(browser: Chromium, condition: str) -> int:
    script = f"""(() => {{
        const canvas = document.querySelector('#canvas');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let n = 0;
        for (let i = 0; i < data.length; i += 4) {{
            const [r, g, b] = data.slice(i, i + 3);
            if ({condition}) n++;
        }}
        return n;
    }})()"""
    return int(browser.evaluate(script))


@pytest.mark.usefixtures("server")
def test_pictures_are_drawn_one_after_the_other(browser: Chromium) -> None:
    drawn = int(browser.evaluate(DRAWN))
    browser.until(f"{DRAWN} >= {drawn + 5}")
    assert pixels_where(browser, "r > 200 && g > 200 && b > 200") > 500


@pytest.mark.usefixtures("server")
def test_outlines_are_coloured_and_a_key_hides_them(browser: Chromium) -> None:
    colourful = "Math.max(r, g, b) - Math.min(r, g, b) > 90"
    press = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '%s', bubbles: true}))"
    browser.evaluate(press % "t")
    assert pixels_where(browser, colourful) > 200
    browser.evaluate(press % "o")
    assert browser.evaluate("document.querySelector('#outlines').getAttribute('aria-pressed')") == "false"
    assert pixels_where(browser, colourful) == 0


@pytest.mark.usefixtures("server")
def test_denoised_pixels_have_a_button_and_a_key_where_they_are_offered(browser: Chromium, live: LiveState) -> None:
    press = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'd', bubbles: true}))"
    button, white = "document.querySelector('#denoised')", "r > 150 && g > 150 && b > 150"
    assert browser.evaluate(f"{button}.hidden")
    few = pixels_where(browser, white)
    live.status({"denoised": True})
    browser.until(f"!{button}.hidden")
    for act, pressed in ((f"{button}.click()", True), (press, False)):
        browser.evaluate(act)
        assert browser.evaluate(f"{button}.getAttribute('aria-pressed')") == str(pressed).lower()
        drawn = int(browser.evaluate(DRAWN))
        browser.until(f"{DRAWN} >= {drawn + 4}")
        assert (pixels_where(browser, white) > 3 * few) is pressed
        assert browser.evaluate("document.querySelector('#note').hidden")


@pytest.mark.usefixtures("server")
def test_an_event_is_updated_in_place(browser: Chromium, live: LiveState) -> None:
    live.events([division(0, "provisional")])
    browser.until("document.querySelector('#events li .state')?.textContent.startsWith('Provisional')")
    live.events([division(1, "confirmed")])
    browser.until("document.querySelector('#events li .state').textContent.startsWith('Confirmed')")
    assert browser.evaluate("document.querySelectorAll('#events li').length") == 1
    assert browser.evaluate("document.querySelector('#events .what').textContent") == "Division 3 → 8, 9"
    browser.until("document.querySelector('#v-divisions').textContent === '1'")


@pytest.mark.usefixtures("server")
def test_a_command_shows_why_what_and_the_answer(browser: Chromium, live: LiveState) -> None:
    event = division(1, "confirmed")
    live.events([event])
    cause = {"event_id": event.event_id, "frame": None, "origin": "rules.toml"}
    action = {"kind": "set_exposure", "exposure_ms": 20.0}
    live.command({"command_id": "c", "action": action, "cause": cause, "issued_wall_ns": 1})
    browser.until("document.querySelector('#commands li .state')?.textContent === 'Sent'")
    readback = {"exposure_ms": 20.04}
    live.ack({"command_id": "c", "state": "applied", "readback": readback, "first_frame": {"frame": 7}})
    browser.until("document.querySelector('#commands li .state').textContent === 'Applied'")
    words = browser.evaluate("document.querySelector('#commands li').innerText")
    for said in ("Set exposure 20 ms", "division 3, frame 1", "rules.toml", "exposure 20.04 ms", "from frame 7"):
        assert said in words
    browser.evaluate("document.querySelector('#commands a').click()")
    assert browser.evaluate("document.querySelector('#events li').getAttribute('aria-current')") == "true"


def wait_for_approval(live: LiveState) -> None:
    live.status({"rig": "running", "nodes": {"acquire": True}, "may_decide": True, "approvals": [{}]})
    live.command({"command_id": "c", "action": {"kind": "acquire"}, "cause": {}, "issued_wall_ns": 1})
    live.ack({"command_id": "c", "state": "accepted", "reason": "waits for approval"})


def test_a_command_that_waits_has_buttons_until_it_is_answered(browser: Chromium, live: LiveState) -> None:
    heard: queue.Queue[tuple[str, bool]] = queue.Queue()

    def decide(command_id: str, approve: bool) -> str:
        heard.put((command_id, approve))
        return "" if approve else "no answer within 5 s"

    served = Server(live, port=0, decide=decide)
    wait_for_approval(live)
    buttons = "[...document.querySelectorAll('#commands .ask button')]"
    try:
        browser.open(f"http://127.0.0.1:{served.start()}/")
        browser.until("document.querySelector('#commands .ask')?.hidden === false")
        browser.until(f"{BANNER}.textContent.includes('waits for approval')")
        browser.evaluate(f"{buttons}[1].click()")
        browser.until("document.querySelector('#commands .ask').innerText.includes('no answer within 5 s')")
        assert browser.evaluate(f"{buttons}.some((button) => button.disabled)") is False, "it may be tried again"
        browser.evaluate(f"{buttons}[0].click()")
        assert [heard.get(timeout=20) for _ in range(2)] == [("c", False), ("c", True)]
        browser.until(f"{buttons}.every((button) => button.disabled)")
        live.ack({"command_id": "c", "state": "denied", "reason": "nobody approved it within 60 s"})
        browser.until("document.querySelector('#commands .ask').hidden")
    finally:
        served.stop()


@pytest.mark.usefixtures("server")
def test_a_command_that_waits_is_not_driven_out_by_others(browser: Chromium, live: LiveState) -> None:
    wait_for_approval(live)
    for n in range(130):
        live.ack({"command_id": f"c{n}", "state": "applied"})
    browser.until("document.querySelectorAll('#commands li').length === 100")
    browser.until("document.querySelector('#commands li[data-id=c129]') !== null")
    assert browser.evaluate("document.querySelector('#commands li[data-id=c] .ask').hidden") is False


@pytest.mark.usefixtures("server")
def test_a_projection_s_outlines_say_what_they_lie_on(browser: Chromium, live: LiveState) -> None:
    plane = "document.querySelector('#plane')"
    assert browser.evaluate(f"{plane}.hidden")
    live.status({"projection": "max"})
    browser.until(f"!{plane}.hidden && {plane}.textContent === 'first plane; outlines of the max projection'")


@pytest.mark.usefixtures("server")
def test_hostile_words_stay_words(browser: Chromium, live: LiveState) -> None:
    live.ack({"command_id": "x", "state": "refused", "reason": "<img src=x onerror=document.title='owned'>"})
    browser.until("document.querySelector('#commands .answer')?.textContent.includes('<img')")
    assert browser.evaluate("document.querySelectorAll('#commands img').length") == 0


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"rig": "base_plan", "reason": "no sign of life"}, "base plan"),
        ({"rig": "paused"}, "Paused"),
        ({"nodes": {"analyse": False}}, "Not answering: analyse"),
    ],
)
def test_trouble_raises_the_banner(browser: Chromium, live: LiveState, status: dict[str, object], words: str) -> None:
    browser.until(f"{BANNER}.hidden")
    live.status(status)
    browser.until(f"!{BANNER}.hidden && {BANNER}.textContent.includes('{words}')")


@pytest.mark.usefixtures("server")
def test_another_field_is_one_key_away(browser: Chromium) -> None:
    browser.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))")
    browser.until(f"document.querySelector('#canvas').getAttribute('aria-label').startsWith('{FIELDS[1]}')")


def test_cut_off_and_back(browser: Chromium, live: LiveState, server: Server) -> None:
    port = int(browser.evaluate("+location.port"))
    server.stop()
    browser.until(f"!{BANNER}.hidden && {BANNER}.textContent.includes('Disconnected')")
    again = Server(live, port=port)
    again.start()
    try:
        drawn = int(browser.evaluate(DRAWN))
        browser.until(f"{BANNER}.hidden && {DRAWN} > {drawn}")
    finally:
        again.stop()


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("size_px", [(1280, 800), (390, 844)])
def test_nothing_runs_over_the_side(browser: Chromium, live: LiveState, size_px: tuple[int, int]) -> None:
    live.status({"denoised": True})
    browser.resize(size_px)
    browser.until(f"innerWidth === {size_px[0]} && !document.querySelector('#denoised').hidden")
    assert browser.evaluate("document.documentElement.scrollWidth") <= size_px[0]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("rate", [{"v-fps": "888", "v-per": "s"}, {"v-fps": "0.88", "v-per": "min"}])
@pytest.mark.parametrize("size_px", [(1280, 800), (390, 844)])
def test_long_numbers_stay_in_their_place(browser: Chromium, size_px: tuple[int, int], rate: dict[str, str]) -> None:
    browser.resize(size_px)
    browser.until(f"innerWidth === {size_px[0]}")
    long = {"v-p50": "888", "v-p99": "888", "v-lost": "8888", "v-pending": "88 open, 88 retracted"} | rate
    write = "".join(f"document.getElementById('{name}').textContent = '{said}';" for name, said in long.items())
    too_wide = "[...document.querySelectorAll('#vitals > div:not(.full) dd:first-of-type')]"
    too_wide += ".filter(dd => dd.scrollWidth > dd.clientWidth).map(dd => dd.textContent).join()"
    assert browser.evaluate(f"(() => {{ {write} return {too_wide}; }})()") == ""


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("size_px", [(1280, 800), (390, 844)])
def test_many_fields_leave_everything_in_its_place(
    browser: Chromium, live: LiveState, size_px: tuple[int, int]
) -> None:
    for number in range(2, 96):
        name = f"Camera:p{number}"
        live.frame(Frame("run", "Camera", "s", 1, 0, name, 0, np.zeros((8, 8), np.uint16)))
    browser.resize(size_px)
    browser.until(f"innerWidth === {size_px[0]} && document.querySelectorAll('#fields button').length === 96")
    assert browser.evaluate("document.documentElement.scrollWidth") <= size_px[0]
    right = "[...document.querySelectorAll('.tools > *, #outlines, #marks, #stage, #rigfacts')]"
    right += ".map((part) => part.getBoundingClientRect().right)"
    assert browser.evaluate(f"Math.max(...{right}) <= document.querySelector('#view').getBoundingClientRect().right")
    last = "[...document.querySelectorAll('#fields button')].at(-1)"
    browser.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))")
    browser.until(f"{last}.getAttribute('aria-pressed') === 'true'")
    assert browser.evaluate(f"{last}.getBoundingClientRect().right") <= size_px[0]
