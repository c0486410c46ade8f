"""The web page: a picture in, captions out, and where the model looked for each word.

Runs on this machine only, needs no data set and no network. `build_page` makes it, `serve` shows
it until Ctrl-C. Programs may call it too (`gradio_client`, endpoint `/caption`).
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI

from captioning.bundle import pick_device
from captioning.config import GenerationConfig
from captioning.demo import look
from captioning.demo.answer import Answer, Shelf, describe, facts, no_models

HERE = Path(__file__).parent
EXAMPLES = ("meadow", "beach", "harbour", "street", "living_room", "snow")
MAX_UPLOAD = "40mb"
MOST_CAPTIONS = 5
NO_PICTURE = "Please choose a picture first."


def sentence(error: Exception) -> gr.Error:
    """A friendly box in the page instead of a traceback."""
    return gr.Error(str(error), title="That did not work", print_exception=False)


def build_page(models: Path, device: str = "auto") -> gr.Blocks:
    """The page for the bundles of a folder; it can be launched, or shown inside another app.

    Args:
        models (Path): folder of model bundles, read again whenever the page is loaded.
        device (str): auto, cpu, cuda, ...

    Returns:
        gr.Blocks: the page; `running` and `serve` show it.
    """
    shelf = Shelf(models, device)
    with gr.Blocks(title="Picture in, sentence out", analytics_enabled=False) as page:
        gr.HTML(look.HEADER)
        notice = gr.HTML(look.notice(missing(shelf)), visible=not shelf.names())
        answer = gr.State()  # what the picked word needs: stays on the server
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=300):
                picture = picture_box()
                button = gr.Button("Caption it", variant="primary", size="lg", elem_id="go")
            with gr.Column(scale=6, min_width=300, elem_classes="page"):
                captions = gr.HTML(look.EMPTY, js_on_load=look.WORD_CLICKS, elem_id="captions")
                title = gr.HTML(elem_id="map-title")
                overlay = gr.Image(
                    visible=False,
                    interactive=False,
                    show_label=False,
                    format="jpeg",
                    buttons=["download", "fullscreen"],
                    elem_id="overlay",
                )
        model, method, *numbers, facts_box = settings_band(shelf)
        gr.HTML(look.footer())
        result = gr.JSON(visible=False)

        def caption(
            picture: dict | None,
            model: str,
            method: str = "beam",
            beam_size: int = 5,
            temperature: float = 1.0,
            num_samples: int = 1,
        ) -> tuple[dict, Answer]:
            """Caption a picture.

            Returns the captions, best first, each with its log-probability, and the time taken.
            """
            try:
                settings = used_settings(method, beam_size, temperature, num_samples)
                captioner = shelf.get(model)
                if not picture or not picture.get("path"):
                    raise ValueError(NO_PICTURE)
                found = describe(captioner, model, picture["path"], **settings)
            except (ValueError, OSError) as error:
                raise sentence(error) from error
            return found.to_dict(), found

        inputs = [picture, model, method, *numbers]
        shown = [captions, title, overlay]
        private = {"api_visibility": "private", "show_progress": "hidden"}
        button.click(
            caption,
            inputs,
            [result, answer],
            api_name="caption",
            preprocess=False,  # the file as it is: open_image has a sentence for what is no picture
            show_progress="minimal",
            show_progress_on=captions,
        ).success(show_answer, answer, shown, **private)
        captions.click(show_word, answer, [title, overlay], **private)
        picture.change(clear, picture, [answer, *shown], preprocess=False, **private)
        model.change(lambda name: model_facts(shelf, name), model, facts_box, **private)
        page.load(lambda: refresh(shelf), None, [notice, model, facts_box], **private)
    return page


def picture_box() -> gr.Image:
    """Upload, webcam, clipboard, and a row of our own drawings."""
    picture = gr.Image(
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        webcam_options=gr.WebcamOptions(mirror=False),
        label="Your picture",
        height=330,
        buttons=[],
        elem_id="picture",
    )
    files = [[str(HERE / "examples" / f"{name}.jpg")] for name in EXAMPLES]
    gr.Examples(files, picture, label="Or one of ours", elem_id="examples")
    return picture


def settings_band(shelf: Shelf) -> list[gr.components.Component]:
    """Which model, and how it searches for words; only what matters for the method is shown."""
    defaults = GenerationConfig()
    names = shelf.names()
    with gr.Group(), gr.Row():
        model = gr.Dropdown(
            names,
            value=names[0] if names else None,
            label="Model",
            info="Bundles in the models folder.",
            min_width=220,
            elem_id="model",
        )
        method = gr.Radio(
            [("Beam search", "beam"), ("Greedy", "greedy"), ("Sampling", "sample")],
            value="beam",
            label="How it picks words",
            info=look.METHODS["beam"],
            scale=2,
            min_width=380,
            elem_id="method",
        )
        beam_size = gr.Slider(
            1,
            10,
            defaults.beam_size,
            step=1,
            label="Beam size",
            min_width=180,
            elem_id="beam_size",
        )
        temperature = gr.Slider(
            0.1,
            2.0,
            defaults.temperature,
            step=0.1,
            label="Temperature",
            min_width=180,
            visible=False,
            elem_id="temperature",
        )
        num_samples = gr.Slider(
            1,
            MOST_CAPTIONS,
            1,
            step=1,
            label="Captions",
            min_width=180,
            elem_id="num_samples",
        )
    facts_box = gr.HTML(model_facts(shelf, names[0]) if names else "", elem_id="facts")
    method.change(
        show_settings,
        method,
        [method, beam_size, temperature, num_samples],
        api_visibility="private",
        show_progress="hidden",
    )
    return [model, method, beam_size, temperature, num_samples, facts_box]


def used_settings(method: str, beam_size: int, temperature: float, num_samples: int) -> dict:
    """The settings that matter for a method (greedy search has none).

    Raises:
        ValueError: a number is not whole where it has to be.
    """
    for name, number in (("beam_size", beam_size), ("num_samples", num_samples)):
        if isinstance(number, float) and not number.is_integer():
            raise ValueError(f"{name}: {number} received, a whole number expected")
    chosen = {"method": method, "num_samples": num_samples}
    if method == "sample":
        return {**chosen, "temperature": temperature}
    return {**chosen, "beam_size": beam_size} if method == "beam" else chosen


def show_settings(method: str) -> list[Any]:
    """Explain the method, show its settings, hide the others."""
    many = method != "greedy"
    return [
        gr.update(info=look.METHODS[method]),
        gr.update(visible=method == "beam"),
        gr.update(visible=method == "sample"),
        gr.update(visible=True) if many else gr.update(visible=False, value=1),
    ]


def show_answer(answer: Answer) -> list[Any]:
    """The captions, and the map of the word with the clearest one."""
    word = answer.sharpest_word()
    return [look.captions_html(answer, word), *_word_map(answer, 0, word)]


def show_word(answer: Answer | None, event: gr.EventData) -> list[Any]:
    """The map of the word that was clicked."""
    if answer is None:
        return [gr.skip(), gr.skip()]
    return _word_map(answer, int(event._data["row"]), int(event._data["word"]))


def _word_map(answer: Answer, row: int, word: int) -> list[Any]:
    picture = answer.overlay(row, word)
    title = look.overlay_title(answer, row, word)
    return [title, gr.update(value=picture, visible=picture is not None)]


def clear(picture: dict | None) -> list[Any]:
    """Another picture: the old caption would be wrong."""
    hint = look.EMPTY if picture is None else look.WAITING
    return [None, hint, "", gr.update(value=None, visible=False)]


def missing(shelf: Shelf) -> str:
    """What to tell somebody who has no model yet; empty when there is one."""
    return "" if shelf.names() else no_models(shelf.models)


def model_facts(shelf: Shelf, name: str | None) -> str:
    """Facts about a bundle, or the sentence why it cannot be read."""
    if not name:
        return ""
    try:
        return look.facts_html(facts(shelf.get(name)))
    except (ValueError, OSError) as error:
        return look.notice(str(error))


def refresh(shelf: Shelf) -> list[Any]:
    """The bundles there are now: one may have been trained since the page was opened."""
    names = shelf.names()
    first = names[0] if names else None
    return [
        gr.update(value=look.notice(missing(shelf)), visible=not names),
        gr.update(choices=names, value=first),
        model_facts(shelf, first),
    ]


def listen(host: str, port: int) -> socket.socket:
    """A socket on the port asked for, or on any free one for 0.

    Raises:
        ValueError: the port is in use, or the address is not one of this machine.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # browsers wait from now on, even before the page is ready
    except (OSError, OverflowError) as error:
        listener.close()
        raise ValueError(
            f"port: {port} on {host} cannot be used ({error}); --port 0 takes a free one"
        ) from error
    return listener


class PageServer(uvicorn.Server):
    """A server that ends without complaints about pages that are still open in a browser."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut off what is still open after a second."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


def make_server(page: gr.Blocks, ready: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """A server for the page as designed; nothing is shared, and no request leaves this machine.

    `ready` is called as soon as the server can be stopped with Ctrl-C.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI):
        ready()
        yield

    application = gr.mount_gradio_app(
        FastAPI(openapi_url=None, lifespan=lifespan),
        page,
        path="/",
        theme=look.theme(),
        css_paths=look.STYLE_SHEET,
        favicon_path=str(HERE / "favicon.png"),
        footer_links=["api"],
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
    )
    settings = {"log_level": "warning", "timeout_graceful_shutdown": 1}
    return PageServer(uvicorn.Config(application, **settings))


def address_of(listener: socket.socket) -> str:
    """What to type into a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


@contextlib.contextmanager
def running(page: gr.Blocks, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The page in the background while the block runs: `with running(page) as address:`.

    Raises:
        ValueError: see `listen`.
    """
    listener = listen(host, port)
    server = make_server(page)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield address_of(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def serve(
    models: Path = Path("models"), host: str = "127.0.0.1", port: int = 7860, device: str = "auto"
) -> None:
    """Show the page until Ctrl-C.

    Args:
        models (Path): folder of model bundles.
        host (str): address to listen on; 127.0.0.1 is reachable from this machine only.
        port (int): 0 takes a free one.
        device (str): auto, cpu, cuda, ...

    Raises:
        ValueError: the port is in use, or the device is not there.
    """
    pick_device(device)
    with listen(host, port) as listener:
        message = f"Open {address_of(listener)} in a browser (Ctrl-C ends it)."
        server = make_server(build_page(models, device), lambda: print(message, flush=True))
        try:
            server.run([listener])
        except KeyboardInterrupt:
            print("Page closed.")
