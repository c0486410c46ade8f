"""The web page as programs use it: captions come back, and whatever is wrong gets a sentence."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from tiny_bundles import served, tiny_bundle

from captioning.demo import app, look
from captioning.demo.answer import SHOWN_SIZE, Shelf, describe
from captioning.plotting.attention import Frame
from data_loader import MAX_PIXELS

ROOT = Path(__file__).parent.parent
EXAMPLE = str(ROOT / "captioning" / "demo" / "examples" / "meadow.jpg")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bundles: attention over the whole picture, over its middle, and none."""
    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder / "picturebook_xe")
    tiny_bundle(folder / "cropped", fit="crop")
    tiny_bundle(folder / "a_plain_rnn", kind="rnn")
    (folder / "notes").mkdir()  # no bundle
    return folder


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[Client]:
    """A client of the page, which runs in a process of its own, as a reader starts it."""
    with served(models) as address:
        client = Client(address, verbose=False, analytics_enabled=False)
        yield client
        client.close()


def ask(client: Client, picture: str | None = EXAMPLE, model="picturebook_xe", **settings) -> dict:
    settings = {"method": "beam", "beam_size": 3, "temperature": 1, "num_samples": 1, **settings}
    file = None if picture is None else handle_file(picture)
    return client.predict(picture=file, model=model, **settings, api_name="/caption")


def refusal(client: Client, **request) -> str:
    with pytest.raises(AppError) as caught:
        ask(client, **request)
    message = str(caught.value)
    assert "Traceback" not in message
    return message


# ------------------------------------------------------------------------------------- captions


def test_captions_come_back_best_first(client: Client) -> None:
    answer = ask(client, beam_size=4, num_samples=3)
    assert answer["model"] == "picturebook_xe" and answer["ms"] >= 0
    logprobs = [caption["logprob"] for caption in answer["captions"]]
    assert len(logprobs) == 3 and logprobs == sorted(logprobs, reverse=True)
    assert all(len(caption["caption"].split()) == 6 for caption in answer["captions"])


def test_the_page_says_what_the_bundle_says(client: Client, models: Path) -> None:
    expected = Shelf(models, "cpu").get("picturebook_xe").caption(EXAMPLE, beam_size=3)
    assert ask(client)["captions"][0]["caption"] == expected


@pytest.mark.parametrize("model", ["cropped", "a_plain_rnn"])
def test_every_bundle_can_be_chosen(client: Client, model: str) -> None:
    assert ask(client, model=model, method="greedy")["model"] == model


def test_only_caption_is_offered_to_programs(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    names = [parameter["parameter_name"] for parameter in endpoints["/caption"]["parameters"]]
    assert set(endpoints) == {"/caption"}
    expected = ["picture", "model", "method", "beam_size", "temperature", "num_samples"]
    assert names == expected


def test_odd_pictures_reach_our_own_decoder(client: Client, tmp_path: Path) -> None:
    """CMYK, 16-bit, palette with transparency, 1 x 1, and a JPEG that calls itself PNG."""
    Image.new("CMYK", (40, 30), (0, 90, 90, 0)).save(tmp_path / "cmyk.jpg")
    Image.new("I;16", (40, 30), 40_000).save(tmp_path / "deep.png")
    Image.new("P", (40, 30)).save(tmp_path / "palette.gif", transparency=0)
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.bmp")
    Image.new("RGB", (40, 30)).save(tmp_path / "renamed.png", format="JPEG")
    for path in sorted(tmp_path.iterdir()):
        assert ask(client, str(path))["captions"], path.name


# ------------------------------------------------------------------------------------- refusals


def test_no_picture(client: Client) -> None:
    assert refusal(client, picture=None) == "Please choose a picture first."


def test_broken_uploads_get_a_sentence(client: Client, tmp_path: Path) -> None:
    whole = Path(EXAMPLE).read_bytes()
    cases = {
        "cut.jpg": (whole[: len(whole) // 2], "damaged or truncated"),
        "letter.png": (b"Dear Sir or Madam", "not a picture"),
        "nothing.jpg": (b"", "empty file"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        message = refusal(client, picture=str(tmp_path / name))
        assert message.startswith(name) and words in message


def test_decompression_bomb_is_refused_by_its_header(client: Client, tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    for side in (12_000, 60_000):  # above our limit; above Pillow's own
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        (tmp_path / "bomb.png").write_bytes(bomb + chunk(b"IEND", b""))
        assert f"{MAX_PIXELS:,}" in refusal(client, picture=str(tmp_path / "bomb.png"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "magic"}, "magic"),
        ({"model": "../secret"}, "../secret"),
        ({"model": None}, "model: None received"),
        ({"beam_size": 0}, "beam_size: 0 received, 1 to "),
        ({"beam_size": 2.5}, "beam_size: 2.5 received"),
        ({"beam_size": "many"}, "beam_size: 'many' received"),
        ({"temperature": -1.0, "method": "sample"}, "temperature: -1.0 received"),
        ({"method": "greedy", "num_samples": 2}, "num_samples: 2 received"),
        ({"beam_size": 2, "num_samples": 3}, "num_samples: 3 received"),
    ],
)
def test_unknown_settings_are_refused(client: Client, settings: dict, words: str) -> None:
    assert words in refusal(client, **settings)


# --------------------------------------------------------------------------- shelf and answers


def test_the_shipped_bundle_comes_first(models: Path) -> None:
    assert Shelf(models).names() == ["picturebook_xe", "a_plain_rnn", "cropped"]


def test_bundles_are_read_once_and_again_when_they_changed(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "mine")
    shelf = Shelf(tmp_path, "cpu")
    first = shelf.get("mine")
    assert shelf.get("mine") is first
    time.sleep(0.02)
    tiny_bundle(tmp_path / "mine")
    assert shelf.get("mine") is not first


def test_without_a_bundle_the_page_tells_how_to_make_one(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert "python -m captioning train" in app.missing(shelf)
    with pytest.raises(FileNotFoundError, match="python -m captioning train"):
        shelf.get("picturebook_xe")

    async def config_of_page() -> dict:  # inside a loop: Gradio would leave one of its own open
        return app.build_page(tmp_path).get_config_file()

    config = asyncio.run(config_of_page())
    texts = [str(part["props"].get("value")) for part in config["components"]]
    assert any("python -m captioning train" in text for text in texts)


def test_a_damaged_bundle_gets_a_sentence(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "bad")
    (tmp_path / "bad" / "model.safetensors").write_bytes(b"no weights")
    assert "not a complete weight file" in app.model_facts(Shelf(tmp_path, "cpu"), "bad")


def test_maps_for_words(models: Path, tmp_path: Path) -> None:
    """Every word of an attention model has a map; the cropped one says what it saw."""
    Image.new("RGB", (2000, 1000), "teal").save(tmp_path / "wide.jpg")
    shelf = Shelf(models, "cpu")
    for name, frame in (("picturebook_xe", Frame()), ("cropped", None)):
        answer = describe(shelf.get(name), name, str(tmp_path / "wide.jpg"), method="greedy")
        maps = [answer.overlay(0, word) for word in range(len(answer.captions[0].words))]
        assert {one.size for one in maps} == {(SHOWN_SIZE[1], SHOWN_SIZE[1] // 2)}
        assert answer.overlay(0, 99) is None
        title = look.overlay_title(answer, 0, answer.sharpest_word())
        assert (answer.frame == frame) == ("white frame" not in title)
    answer = describe(shelf.get("a_plain_rnn"), "a_plain_rnn", EXAMPLE, method="greedy")
    assert answer.overlay(0, 0) is None
    assert "no attention" in look.overlay_title(answer, 0, 0)


def test_words_cannot_smuggle_html(models: Path) -> None:
    answer = describe(Shelf(models, "cpu").get("picturebook_xe"), "<b>", EXAMPLE)
    answer.captions[0].words[1] = "<script>alert(1)</script>"
    html = look.captions_html(answer, 1) + look.overlay_title(answer, 0, 1)
    assert "<script" not in html and "<b>" not in html and "&lt;script" in html


@pytest.mark.parametrize(
    ("method", "visible"),
    [("beam", [True, False, True]), ("sample", [False, True, True]), ("greedy", [False] * 3)],
)
def test_only_settings_that_matter_are_shown(method: str, visible: list[bool]) -> None:
    assert [update["visible"] for update in app.show_settings(method)[1:]] == visible


# ---------------------------------------------------------------------------------- the server


def test_a_taken_port_gets_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port: {port} .* --port 0 takes a free one"):
            app.listen("127.0.0.1", port)
    with pytest.raises(ValueError, match="port: 99999"):
        app.listen("127.0.0.1", 99_999)
