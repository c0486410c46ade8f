"""`features import`: folders of arrays and bottom-up TSV files, whole, odd and broken."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
import torch
from conftest import write_data

from captioning import cli
from captioning.features import importers
from captioning.features.importers import import_arrays, import_tsv, to_fractions
from captioning.features.store import FeatureStore
from captioning.features.writer import WriteOptions
from model import grid_boxes

SIZES = {3: (40, 30), 11: (64, 48), 20: (50, 50)}
EXACT = WriteOptions(half=False)


def picture(image_id, feature_dim=6):
    """Regions (P, F) and boxes in pixels of a picture."""
    rng = np.random.default_rng(image_id)
    number = int(rng.integers(2, 6))
    regions = rng.random((number, feature_dim), np.float32)
    boxes = np.sort(rng.random((number, 2, 2)), 1).reshape(number, 4)
    return regions, (boxes * np.tile(SIZES[image_id], 2)).astype(np.float32)


@pytest.fixture
def folders(tmp_path):
    """att (npz), fc and box (npy) as self-critical's tools write them."""
    for name in ("att", "fc", "box"):
        (tmp_path / name).mkdir()
    for image_id in SIZES:
        regions, boxes = picture(image_id)
        np.savez_compressed(tmp_path / "att" / f"{image_id}.npz", feat=regions)
        np.save(tmp_path / "fc" / f"{image_id}.npy", regions.mean(0))
        np.save(tmp_path / "box" / f"{image_id}.npy", boxes)
    (tmp_path / "att" / ".hidden.npz").write_text("nothing")
    (tmp_path / "att" / "notes.txt").write_text("nothing")
    return {name: tmp_path / name for name in ("att", "fc", "box")}


def assert_imported(path, image_ids=SIZES):
    """The store holds these pictures with their boxes."""
    store = FeatureStore(path)
    assert sorted(store.image_ids) == sorted(image_ids)
    for image_id in image_ids:
        regions, boxes = store.read(image_id)
        truth = picture(image_id)
        assert np.array_equal(regions.numpy(), truth[0])
        assert np.allclose(boxes.numpy() * np.tile(SIZES[image_id], 2), truth[1], atol=1e-4)
        assert store.size_of(image_id) == SIZES[image_id]
    return store


# ---- arrays ----


def test_regions_with_boxes(folders, tmp_path):
    result = import_arrays(tmp_path / "f.h5", **folders, sizes=SIZES, source="ours", write=EXACT)
    assert result["pictures"] == 3 and result["feature_dim"] == 6
    store = assert_imported(tmp_path / "f.h5")
    assert store.signature["encoder"] == {"backbone": "features", "source": "ours"}


def test_regions_without_boxes_and_a_part_of_the_pictures(folders, tmp_path):
    import_arrays(tmp_path / "f.h5", att=folders["att"], write=EXACT)
    store = FeatureStore(tmp_path / "f.h5")
    assert store.image_ids == [3, 11, 20] and store.read(3)[1] is None
    assert store.size_of(3) == (0, 0)
    import_arrays(tmp_path / "g.h5", att=folders["att"], sizes={11: (0, 0)})
    assert FeatureStore(tmp_path / "g.h5").image_ids == [11]


def test_global_vectors_are_one_region(folders, tmp_path):
    import_arrays(tmp_path / "f.h5", fc=folders["fc"], write=EXACT)
    regions, boxes = FeatureStore(tmp_path / "f.h5").read(11)
    assert np.array_equal(regions.numpy(), picture(11)[0].mean(0, keepdims=True))
    assert boxes.tolist() == [[0, 0, 1, 1]]


def test_grids_are_read_row_by_row_with_their_cells_as_boxes(tmp_path):
    grid = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    (tmp_path / "att").mkdir()
    np.savez(tmp_path / "att" / "000000000007.npz", z=grid)  # the key of the test server's pack
    import_arrays(tmp_path / "f.h5", att=tmp_path / "att")
    regions, boxes = FeatureStore(tmp_path / "f.h5").read(7)
    assert np.array_equal(regions.numpy(), grid.reshape(6, 4))
    assert torch.equal(boxes, grid_boxes(2, 3))


def test_stopped_import_goes_on(folders, tmp_path, monkeypatch):
    real, read = importers.read_regions, []

    def stop(path, spatial):
        if path.name == "11.npz":
            raise KeyboardInterrupt
        return real(path, spatial)

    monkeypatch.setattr(importers, "read_regions", stop)
    with pytest.raises(KeyboardInterrupt):
        import_arrays(tmp_path / "f.h5", **folders, sizes=SIZES, write=EXACT)
    monkeypatch.setattr(importers, "read_regions", lambda p, s: read.append(p.name) or real(p, s))
    result = import_arrays(tmp_path / "f.h5", **folders, sizes=SIZES, write=EXACT)
    assert result["resumed"] == 1 and read == [
        "3.npz",
        "11.npz",
        "20.npz",
    ]  # the first for its size
    assert_imported(tmp_path / "f.h5")


def pickled():
    return np.array([{"a": 1}, None], dtype=object)


BROKEN = [
    (np.zeros((0, 6)), r"att.11.npz: shape \(0, 6\) found, \(P, F\) or \(height, width, F\) exp"),
    (np.zeros(6), r"att.11.npz: shape \(6,\) found"),
    (np.zeros((2, 5)), r"att.11.npz: features of shape \(2, 5\) found, .* 6\) expected"),
    (np.zeros((2, 2, 6)), r"box.11.npy: boxes of shape \(\d, 4\) found, \(4, 4\) expected"),
    (np.full((3, 6), np.nan), "box.11.npy: boxes of shape"),
    (np.array([["a", "b"]]), "att.11.npz: <U1 found, numbers expected"),
    (pickled(), "att.11.npz: not a readable array .*allow_pickle"),
]


@pytest.mark.parametrize(("array", "message"), BROKEN)
def test_broken_array_is_named_and_the_others_are_kept(folders, tmp_path, array, message):
    good = (folders["att"] / "11.npz").read_bytes()
    np.savez(folders["att"] / "11.npz", feat=array)
    with pytest.raises(ValueError, match=message):
        import_arrays(tmp_path / "f.h5", **folders, sizes=SIZES, write=EXACT)
    (folders["att"] / "11.npz").write_bytes(good)
    result = import_arrays(tmp_path / "f.h5", **folders, sizes=SIZES, write=EXACT)
    assert result["resumed"] == 1
    assert_imported(tmp_path / "f.h5")


@pytest.mark.parametrize("length", [0, 10, 100, 300])
@pytest.mark.parametrize("name", ["11.npz", "11.npy"])
def test_truncated_array_is_named(folders, tmp_path, name, length):
    regions = picture(11)[0]
    path = folders["att"] / name
    (folders["att"] / "11.npz").unlink()
    np.savez(path, feat=regions) if name.endswith("z") else np.save(path, regions)
    content = path.read_bytes()
    path.write_bytes(content[: min(length, len(content) - 5)])
    with pytest.raises(ValueError, match=f"{name}: not a readable array"):
        import_arrays(tmp_path / "f.h5", att=folders["att"])


@pytest.mark.parametrize(
    ("boxes", "size", "message"),
    [
        ([[0, 0, 10, 50]], (40, 30), "a box reaches 20 pixels beyond the picture .40 x 30."),
        ([[-5, 0, 10, 20]], (40, 30), "a box reaches 5 pixels beyond"),
        ([[0, 0, 0.5, 1]], (40, 30), "boxes from 0 to 1 found, pixels expected"),
        ([[0, 0, 10, 20]], (0, 0), "the size of the picture is unknown"),
    ],
)
def test_boxes_that_are_no_pixels_of_this_picture(boxes, size, message):
    with pytest.raises(ValueError, match=message):
        to_fractions(np.array(boxes, np.float32), 1, size)


def test_boxes_a_pixel_outside_are_cut_off():
    boxes = to_fractions(np.array([[-1, 0, 41, 15]]), 1, (40, 30))
    assert boxes.tolist() == [[0, 0, 1, 0.5]]


def test_odd_folders(folders, tmp_path):
    output = tmp_path / "f.h5"
    with pytest.raises(ValueError, match="att, fc: none received"):
        import_arrays(output, box=folders["box"])
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        import_arrays(output, att=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="att: no file for 2 of 3 pictures, the first is 4"):
        import_arrays(output, att=folders["att"], sizes={3: (1, 1), 4: (1, 1), 5: (1, 1)})
    np.save(folders["att"] / "0011.npy", picture(11)[0])
    with pytest.raises(ValueError, match="11.npz: picture 11 is in .*0011.npy as well"):
        import_arrays(output, att=folders["att"])
    (folders["att"] / "0011.npy").rename(folders["att"] / "cat.npy")
    with pytest.raises(ValueError, match="cat.npy: the id of a picture expected as name"):
        import_arrays(output, att=folders["att"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: no .npy or .npz file in it"):
        import_arrays(output, att=tmp_path / "empty")
    np.savez(folders["fc"] / "3.npz", other=[1.0])
    (folders["fc"] / "3.npy").unlink()
    with pytest.raises(ValueError, match=r"3.npz: .*keys \['other'\] found, feat or z expected"):
        import_arrays(output, fc=folders["fc"])
    assert not output.exists()


def test_too_large_for_half_precision(tmp_path):
    (tmp_path / "att").mkdir()
    np.save(tmp_path / "att" / "1.npy", np.full((1, 2), 1e5))
    with pytest.raises(ValueError, match="1.npy: features up to 100000 do not fit float16"):
        import_arrays(tmp_path / "f.h5", att=tmp_path / "att")


# ---- TSV ----


def text_of(array):
    return base64.b64encode(array.tobytes()).decode()


def line(image_id, **changes):
    """One line of a TSV file, without its end."""
    regions, boxes = picture(image_id)
    width, height = SIZES[image_id]
    columns = {
        "image_id": image_id,
        "image_w": width,
        "image_h": height,
        "num_boxes": len(boxes),
        "boxes": text_of(boxes),
        "features": text_of(regions),
    }
    return "\t".join(str(value) for value in (columns | changes).values())


@pytest.fixture
def tsv(tmp_path):
    """Two files as Python 2's csv module writes them; a picture is in both."""
    (tmp_path / "a.tsv").write_bytes(f"{line(3)}\r\n{line(11)}\r\n".encode())
    (tmp_path / "b.tsv").write_bytes(f"{line(11)}\r\n{line(20)}\r\n".encode())
    return [tmp_path / "a.tsv", tmp_path / "b.tsv"]


def test_tsv(tsv, tmp_path):
    result = import_tsv(tmp_path / "f.h5", tsv, write=EXACT)
    assert result["pictures"] == 3 and result["duplicates"] == 1
    assert_imported(tmp_path / "f.h5")
    import_tsv(tmp_path / "g.h5", tsv, image_ids=[20, 3], write=EXACT)
    assert_imported(tmp_path / "g.h5", [3, 20])


def test_tsv_with_header_bytes_blank_lines_and_no_last_line_end(tmp_path):
    order = "image_id image_h image_w num_boxes boxes features".split()
    regions, boxes = picture(11)
    odd = ["11", "48", "64.0", len(boxes), f"b'{text_of(boxes)}'", f"b'{text_of(regions)}'"]
    lines = ["\t".join(order), "", "\t".join(map(str, odd))]
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    import_tsv(tmp_path / "f.h5", [tmp_path / "a.tsv"], write=EXACT)
    assert_imported(tmp_path / "f.h5", [11])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line(11)[:40], "line 2: 5 columns found, 6 expected .*seems to be cut off in this line"),
        (line(11)[:-7], "line 2: features: not base64 text .*seems to be cut off in this line"),
        (line(11)[:-8] + "\n", "line 2: features: 42 bytes found, a multiple of 4 expected$"),
        (line(11)[:-16], "line 2: features: 9 numbers found for 2 boxes; the file seems to be cut"),
        ("x" + line(11) + "\n", "line 2: image_id 'x11' found, a whole number expected"),
        (line(11, num_boxes=0) + "\n", "line 2: num_boxes 0 found, 1 or more expected"),
        (line(11, num_boxes=7) + "\n", "line 2: boxes: .* numbers found, 28 expected"),
        (line(11, boxes="???") + "\n", "line 2: boxes: not base64 text"),
        (line(11, image_w=4) + "\n", "line 2: a box reaches .* beyond the picture .4 x 48."),
        (line(11, features=text_of(picture(11)[0] * np.nan)) + "\n", "line 2: NaN in the feat"),
        (line(11, features=text_of(picture(11, 7)[0])) + "\n", r"line 2: features of shape .*7\)"),
        ("a b c\n", "line 2: 1 columns found, 6 expected"),
    ],
)
def test_broken_line_is_named_and_the_others_are_kept(tmp_path, bad, message):
    path = tmp_path / "a.tsv"
    path.write_text(f"{line(3)}\n{bad}")
    with pytest.raises(ValueError, match=f"a.tsv, {message}" if "line" in message else message):
        import_tsv(tmp_path / "f.h5", [path], write=EXACT)
    path.write_text(f"{line(3)}\n{line(11)}\n")
    assert import_tsv(tmp_path / "f.h5", [path], write=EXACT)["resumed"] == 1
    assert_imported(tmp_path / "f.h5", [3, 11])


def test_odd_tsv_files(tsv, tmp_path, monkeypatch):
    output = tmp_path / "f.h5"
    with pytest.raises(FileNotFoundError, match="c.tsv: no such TSV file"):
        import_tsv(output, [*tsv, tmp_path / "c.tsv"])
    (tmp_path / "c.tsv").write_text("\n")
    with pytest.raises(ValueError, match="c.tsv: no line, at least one expected"):
        import_tsv(output, [tmp_path / "c.tsv"])
    (tmp_path / "c.tsv").write_text("image_id\tboxes\n")
    with pytest.raises(ValueError, match="c.tsv, line 1: no column 'image_w' among"):
        import_tsv(output, [tmp_path / "c.tsv"])
    with pytest.raises(ValueError, match="no line for 1 of 2 pictures, the first is 5; what was"):
        import_tsv(output, tsv, image_ids=[3, 5])
    monkeypatch.setattr("captioning.features.tsv.MAX_LINE", 50)
    with pytest.raises(ValueError, match="a.tsv, line 1: more than 50 bytes in it"):
        import_tsv(tmp_path / "g.h5", tsv)


# ---- the command ----


def test_import_from_the_command_line(tmp_path, capsys):
    data = write_data(tmp_path / "data", train=2, val=1, test=1)
    record = json.loads((data / "annotations" / "captions_train.json").read_text())
    (tmp_path / "att").mkdir()
    (tmp_path / "box").mkdir()
    for image in record["images"]:
        box = [[0, 0, image["width"], image["height"] / 2]]
        np.save(tmp_path / "att" / f"{image['id']}.npy", np.ones((1, 4)))
        np.save(tmp_path / "box" / f"{image['id']}.npy", box)
    arguments = ["features", "import", f"--att={tmp_path / 'att'}", f"--box={tmp_path / 'box'}"]
    output = [f"--data={data}", "--splits=train", f"--output={tmp_path / 'f.h5'}"]
    assert cli.main([*arguments, *output, "--source=detector"]) == 0
    assert "f.h5: 2 pictures, 2 regions of 4 numbers" in capsys.readouterr().out
    store = FeatureStore(tmp_path / "f.h5")
    assert store.read(100)[1].tolist() == [[0, 0, 1, 0.5]]
    assert store.signature["encoder"]["source"] == "detector"
    assert cli.main([*arguments, *output]) == 1
    assert "exists already" in capsys.readouterr().err
    assert cli.main([*arguments, *output, "--overwrite", "--splits=val"]) == 1
    assert "no file for 1 of 1 pictures, the first is 500" in capsys.readouterr().err


def test_import_of_tsv_from_the_command_line(tsv, tmp_path, capsys):
    output = [f"--output={tmp_path / 'f.h5'}", "--dtype=float32", "--json"]
    assert cli.main(["features", "import", "--tsv", *map(str, tsv), *output]) == 0
    assert json.loads(capsys.readouterr().out)["duplicates"] == 1
    assert_imported(tmp_path / "f.h5")
