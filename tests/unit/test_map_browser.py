"""The SVG of `mountwarden map` in a real headless browser: it loads nothing, runs nothing, and every text is on it."""

import json
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from mountwarden.output.map import svg

from tests.support import maps

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
SVG = "{http://www.w3.org/2000/svg}"
PROBE = """<!doctype html><meta charset="utf-8"><title>probe</title><body>{svg}<script>
const page = document.querySelector("svg").getBoundingClientRect();
const told = [...document.querySelectorAll("svg text")].map(text => {{
  const box = text.getBoundingClientRect();
  return [text.textContent, box.width, box.left >= page.left && box.right <= page.right && box.bottom <= page.bottom];
}});
const scripts = document.querySelectorAll("svg script").length;
document.body.textContent = "TOLD" + JSON.stringify({{texts: told, scripts, hacked: window.hacked || null}}) + "TOLD";
</script>"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(120),
    pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed"),
]


def browse(tmp_path: Path, page: Path, *options: str) -> str:
    """Run the browser on a file; what it prints."""
    assert BROWSER
    home = f"--user-data-dir={tmp_path}/profile"
    argv = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", home, *options, page.as_uri()]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=100).stdout


def size(drawn: str) -> tuple[int, int]:
    root = ElementTree.fromstring(drawn)
    return int(root.attrib["width"]), int(root.attrib["height"])


@pytest.mark.parametrize("name", maps.CHARTS)
def test_every_text_is_drawn_within_the_page(tmp_path: Path, name: str) -> None:
    drawn = svg.render(maps.CHARTS[name]())
    page = tmp_path / "probe.html"
    page.write_text(PROBE.format(svg=drawn))
    wide, high = size(drawn)
    out = browse(tmp_path, page, f"--window-size={wide + 40},{high + 40}", "--dump-dom")
    match = re.search(r"TOLD(\{.*\})TOLD", out, re.DOTALL)
    assert match, out[-2000:]
    told = json.loads(match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&"))
    texts = [text.text or "" for text in ElementTree.fromstring(drawn).iter(f"{SVG}text")]
    assert [text for text, _wide, _inside in told["texts"]] == texts
    assert [text for text, _wide, inside in told["texts"] if not inside] == []
    assert all(wide > 0 for text, wide, _inside in told["texts"] if text.strip())
    assert (told["scripts"], told["hacked"]) == (0, None)


@pytest.mark.parametrize("name", maps.CHARTS)
def test_the_picture_has_its_colours(tmp_path: Path, name: str) -> None:
    drawn = svg.render(maps.CHARTS[name]())
    page, shot = tmp_path / "map.svg", tmp_path / "map.png"
    page.write_text(drawn)
    wide, high = size(drawn)
    browse(tmp_path, page, f"--window-size={wide},{high}", f"--screenshot={shot}")
    seen = set(pixels(shot.read_bytes(), (wide, high)))
    wanted = {"healthy": {(26, 127, 55)}}.get(name, {(207, 34, 46)})
    assert wanted <= seen
    assert (255, 255, 255) in seen


def pixels(png: bytes, wanted: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """The pixels of a PNG of 8 bits a channel, without interlacing (RFC 2083)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data = 8, b""
    wide = high = channels = 0
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        chunk = png[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            wide, high = int.from_bytes(chunk[:4], "big"), int.from_bytes(chunk[4:8], "big")
            assert (chunk[8], chunk[12]) == (8, 0)
            channels = {2: 3, 6: 4}[chunk[9]]
        elif kind == b"IDAT":
            data += chunk
    assert (wide, high) == wanted
    yield from _unfiltered(zlib.decompress(data), wide * channels, channels)


def _unfiltered(data: bytes, stride: int, channels: int) -> Iterator[tuple[int, int, int]]:
    above = bytes(stride)
    for start in range(0, len(data), stride + 1):
        kind, line = data[start], bytearray(data[start + 1 : start + 1 + stride])
        for x in range(stride):
            left = line[x - channels] if x >= channels else 0
            up, corner = above[x], above[x - channels] if x >= channels else 0
            line[x] = (line[x] + (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]) & 255
        above = bytes(line)
        yield from zip(line[::channels], line[1::channels], line[2::channels], strict=True)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))
