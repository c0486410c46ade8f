"""`demo`: the web page."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import new_parser


def parser() -> ArgumentParser:
    """Flags of `demo`."""
    flags = new_parser("Open the web page on this machine.")
    flags.add_argument("--models", type=str, default="models", help="folder of model bundles")
    flags.add_argument("--host", type=str, default="127.0.0.1", help="address to listen on")
    flags.add_argument("--port", type=int, default=7860, help="port; 0 takes a free one")
    flags.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    return flags


def run(arguments: Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from captioning.demo.app import serve

    serve(Path(arguments.models), arguments.host, arguments.port, arguments.device)
    return 0
