"""The pictures of the docs: each is shown, small enough for a clone, and taken by `make pictures`."""

import re

import PIL.Image

from sandbox import paths
from sandbox.pictures import FOLDER, LARGEST, WIDTH, resources

SHOWN = re.compile(r"!\[([^\]]+)\]\((?:docs/)?pictures/([\w-]+\.png)\)")


def test_every_picture_is_shown_and_every_one_shown_is_there() -> None:
    texts = [path.read_text() for path in (paths.ROOT / "README.md", *(paths.ROOT / "docs").glob("*.md"))]
    shown = {name for text in texts for _, name in SHOWN.findall(text)}
    assert shown == {path.name for path in FOLDER.iterdir()}


def test_a_picture_is_small_enough_for_a_clone() -> None:
    for path in FOLDER.glob("*.png"):
        assert path.stat().st_size <= LARGEST, path.name
        with PIL.Image.open(path) as picture:
            assert picture.width == WIDTH, path.name


def test_resources_are_drawn_below_their_parents_and_without_their_values() -> None:
    stack = "urn:pulumi:dev::watchpost::pulumi:pulumi:Stack::watchpost-dev"
    host = "urn:pulumi:dev::watchpost::watchpost:host:Host::vm"
    step = "urn:pulumi:dev::watchpost::watchpost:host:Host$command:remote:Command::vm-<ready>"
    state = {
        "deployment": {
            "resources": [
                {"urn": stack, "custom": False},
                {"urn": host, "custom": False, "parent": stack},
                {"urn": step, "custom": True, "parent": host, "inputs": {"stdin": "a-fake-secret"}},
            ]
        }
    }
    html = resources(state, "dev")
    names = [re.sub(r"\s+", " ", name) for name in re.findall(r'<li><span class="name[^"]*">([^<]+)', html)]
    assert names == ["vm", "vm-&lt;ready&gt;"]
    assert re.search(r"vm</span>.*?<ul>\s*<li><span class=\"name\">vm-&lt;ready&gt;</span>", html, re.DOTALL)
    assert "3 resources" in html
    assert "a-fake-secret" not in html
