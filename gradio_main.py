"""The web page of the course: python gradio_main.py, then open the address it prints.

Choose a picture, read its caption, click a word to see where the model looked. Any model bundle
in `models/` can be picked; the page itself is in `captioning/demo/app.py`.
"""

import argparse
import sys
from pathlib import Path

from captioning.demo.app import serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Open the captioning page on this machine.")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of models")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="port; 0 takes a free one")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    try:
        serve(**vars(parser.parse_args()))
    except ValueError as error:
        sys.exit(f"error: {error}")
