"""Picture files as they turn up in real folders: the readable ones and the others."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

RED, BLUE = (250, 10, 10), (10, 10, 250)


def two_halves(width: int = 16, height: int = 16) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, (0, 0, width // 2, height))
    return image


def bomb(width: int, height: int) -> bytes:
    """The head of a PNG that claims to be huge."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        check = struct.pack(">I", zlib.crc32(kind + data))
        parts.append(struct.pack(">I", len(data)) + kind + data + check)
    return b"".join(parts)


def write_good(folder: Path) -> list[str]:
    """Files that must be read; their names."""
    image = two_halves()
    image.save(folder / "plain.jpg", quality=95)
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(folder / "grey16.png")
    palette = image.quantize(4)
    palette.save(folder / "palette.png", transparency=palette.getpixel((0, 0)))
    clear = image.convert("RGBA")
    clear.putalpha(128)
    clear.save(folder / "half clear.png")
    image.convert("LA").save(folder / "grey_alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is on the right of the stored pixels
    image.save(folder / "turned.jpg", quality=95, exif=exif)
    Image.new("RGB", (1, 1), RED).save(folder / "one.png")
    image.save(folder / "really_a_jpeg.txt", "JPEG")
    image.save(folder / "no_suffix", "PNG")
    frames = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    image.save(folder / "stereo.mpo", "MPO", save_all=True, append_images=[image])
    image.convert("1").save(folder / "bits.tif")
    image.save(folder / "Füße im Schnee.webp", lossless=True)
    return sorted(p.name for p in folder.iterdir())


def write_bad(folder: Path) -> dict[str, str]:
    """Files that must be refused: name and a part of the reason."""
    whole = folder / "whole.jpg"
    two_halves(200, 200).save(whole, quality=95)
    data = whole.read_bytes()
    whole.unlink()
    (folder / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no picture\n" * 20)
    (folder / "bomb.png").write_bytes(bomb(60_000, 60_000))
    (folder / "large.png").write_bytes(bomb(10_000, 9_999))
    (folder / "strip.png").write_bytes(bomb(1, 5_000))
    (folder / "folder.jpg").mkdir()
    return {
        "truncated.jpg": "damaged or truncated",
        "empty.jpg": "empty file",
        "text.jpg": "content of no known format",
        "bomb.png": "at most 89,000,000 in all",
        "large.png": "10000 x 9999 pixels; at most 89,000,000 in all",
        "strip.png": "1 x 5000 pixels; at most 89,000,000 in all and sides of 1 to 200 allowed",
        "folder.jpg": "is a directory",
        "missing.jpg": "no such file",
    }
