"""rdquant.data: folders, arrays and digits as datasets, and what they make of bad files."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictures import half, picture, write_csv
from rdquant.data import (
    PRESETS,
    ArrayDataset,
    Digits,
    ImageArray,
    ImageFolder,
    open_dataset,
)
from rdquant.errors import CorruptFile, InvalidArgument


@pytest.fixture
def class_folders(tmp_path) -> Path:
    """Folders cat (2 images), dog (1), ant (1) and a hidden one."""
    root = tmp_path / "pets"
    for i, name in enumerate(["cat/a.png", "cat/b.PNG", "dog/a.png", "ant/deep/a.png", ".cache/a.png"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(root / name)
    (root / "cat" / "notes.txt").write_text("no image")
    return root


# --- folders ---------------------------------------------------------------------------------------


def test_folder_with_csv(folder):
    data = ImageFolder(folder, size=32, batch_size=3)
    assert len(data) == 7
    assert data.classes == 3
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    batches = list(data)
    assert [x.shape for x, _ in batches] == [(3, 3, 32, 32), (3, 3, 32, 32), (1, 3, 32, 32)]
    preset = PRESETS["imagenet"].with_size(32)
    expected = np.stack([preset(picture(i)) for i in range(7)])
    assert (np.concatenate([x for x, _ in batches]) == expected).all()
    assert np.concatenate([y for _, y in batches]).tolist() == data.labels.tolist()
    x, labels = data.get([5, 0, 5])
    assert (x == expected[[5, 0, 5]]).all()
    assert labels.tolist() == [2, 0, 2]


def test_nhwc_layout(folder):
    channels_first, channels_last = (ImageFolder(folder, size=(8, 16), layout=s) for s in ("NCHW", "NHWC"))
    x, _ = channels_last.get(range(7))
    assert x.shape == (7, 8, 16, 3)
    assert (x == channels_first.get(range(7))[0].transpose(0, 2, 3, 1)).all()
    assert channels_first.fingerprint != channels_last.fingerprint


def test_one_folder_per_class(class_folders):
    data = ImageFolder(class_folders, "unit")
    assert data.class_names == ("ant", "cat", "dog")
    assert data.files == ("ant/deep/a.png", "cat/a.png", "cat/b.PNG", "dog/a.png")
    assert data.labels.tolist() == [0, 1, 1, 2]
    ordered = ImageFolder(class_folders, "unit", classes=["dog", "cat", "ant"])
    assert ordered.class_names == ("dog", "cat", "ant")
    assert ordered.labels.tolist() == [0, 1, 1, 2]
    assert ordered.files[0] == "dog/a.png"
    with pytest.raises(InvalidArgument, match="'ant'"):
        ImageFolder(class_folders, classes=["dog", "cat"])


def test_other_csv_columns_spaces_and_byte_order_mark(folder):
    text = "\ufeffid, label ,file\n7, 1, 0.png\n\n8,0,1.png\n"
    (folder / "other.csv").write_text(text, encoding="utf-8")
    data = ImageFolder(folder, "unit", labels=folder / "other.csv", classes=4)
    assert data.files == ("0.png", "1.png")
    assert data.labels.tolist() == [1, 0]
    assert data.classes == 4


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("0.png,0", ["1.png,1"], "no columns file and label"),
        ("file,class", ["0.png,0"], "no column label"),
        ("file,label", [], "no rows"),
        ("file,label", ["0.png,0", "gone.png,1"], "line 3: no file 'gone.png'"),
        ("file,label", ["0.png,0", "1.png,3"], r"line 3: label 3 is out of range; expected 0\.\.2"),
        ("file,label", ["0.png,-1"], "line 2: label -1 is out of range"),
        ("file,label", ["0.png,cat"], "line 2: label 'cat' is not an integer"),
        ("file,label", ["0.png,1.0"], "line 2: label '1.0' is not an integer"),
        ("file,label", ["0.png,"], "line 2: label '' is not an integer"),
        ("file,label", ["0.png,99999999999999999999"], "is not an integer"),
        ("file,label", ["0.png"], "line 2: expected a file and a label"),
        ("file,label", [",1"], "line 2: expected a file and a label"),
        ("file,label", ["0.png,0", "1.png,1", "0.png,0"], "line 4: '0.png' stands on line 2 already"),
        ("file,label", ["../images/0.png,0"], "leads out of"),
        ("file,label", ["/etc/hostname,0"], "leads out of"),
        ("file,label", ["C:\\x.png,0"], "leads out of"),
        ("file,label", ['"0.png,0'], "not a CSV file"),
        ("file,label", ["a\0b.png,0"], "labels.csv"),
        ("file,label", ["x" * 5000 + ".png,0"], "no file"),
    ],
)
def test_bad_csv(folder, header, rows, message):
    write_csv(folder, rows, header)
    with pytest.raises(CorruptFile, match=message):
        ImageFolder(folder, classes=3)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00file,label", b"file,label\n\x80.png,0\n"])
def test_csv_that_is_no_text(folder, content):
    (folder / "labels.csv").write_bytes(content)
    with pytest.raises(CorruptFile, match=r"labels\.csv"):
        ImageFolder(folder)


def test_bad_folders(tmp_path, folder, class_folders):
    with pytest.raises(InvalidArgument, match="no such folder"):
        ImageFolder(tmp_path / "gone")
    with pytest.raises(InvalidArgument, match="not a folder"):
        ImageFolder(folder / "0.png")
    with pytest.raises(InvalidArgument, match=r"gone\.csv"):
        ImageFolder(folder, labels=folder / "gone.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgument, match=r"neither labels\.csv nor one folder per class"):
        ImageFolder(tmp_path / "empty")
    shutil.rmtree(class_folders / "dog")
    (class_folders / "dog").mkdir()
    with pytest.raises(InvalidArgument, match="dog: no image"):
        ImageFolder(class_folders)


@pytest.mark.parametrize(
    "options",
    [
        {"preprocess": "vgg"},
        {"preprocess": 3},
        {"size": 0},
        {"batch_size": 0},
        {"layout": "HWC"},
        {"cache_bytes": -1},
        {"classes": 2},
        {"preprocess": np.asarray, "size": 8},
    ],
)
def test_bad_options(folder, options):
    with pytest.raises((InvalidArgument, CorruptFile)):
        ImageFolder(folder, **options)


# --- cache, fingerprint, subsets -------------------------------------------------------------------


@pytest.mark.parametrize(("cache_bytes", "decodes"), [(1 << 20, 7), (0, 14), (3 * 3 * 40 * 40, 11)])
def test_images_are_decoded_once_while_memory_lasts(folder, cache_bytes, decodes, monkeypatch):
    opened = []
    original = ImageFolder.image
    monkeypatch.setattr(ImageFolder, "image", lambda self, i: opened.append(i) or original(self, i))
    data = ImageFolder(folder, "raw", batch_size=2, cache_bytes=cache_bytes)
    first, second = (np.concatenate([x for x, _ in data]) for _ in range(2))
    assert (first == second).all()
    assert len(opened) == decodes
    kept = next((i for i in range(7) if opened.count(i) == 1), 0)  # which ones stay depends on who is first
    data.take([kept, 1]).get([0])
    assert len(opened) == decodes + (cache_bytes == 0)


@pytest.mark.parametrize(("limit", "decodes"), [(7 * 3 * 40 * 40 * 4, 7), (7 * 3 * 40 * 40 * 4 - 1, 28)])
def test_held_tensors_are_made_once_or_not_at_all(folder, limit, decodes, monkeypatch):
    opened = []
    original = ImageFolder.image
    monkeypatch.setattr(ImageFolder, "image", lambda self, i: opened.append(i) or original(self, i))
    data = ImageFolder(folder, "raw", batch_size=4, cache_bytes=0)
    held = data.held(limit)
    passes = [np.concatenate([x for x, _ in held]) for _ in range(3)]
    assert all((x == passes[0]).all() for x in passes)
    assert (held.take([5, 1, 2]).get([0, 1, 2])[0] == passes[0][[5, 1, 2]]).all()
    assert len(opened) == decodes - (decodes > 7) * 4
    assert held.fingerprint == data.fingerprint
    assert held.item_name(3) == data.item_name(3)
    assert (pickle.loads(pickle.dumps(held)).get([6])[0] == passes[0][6]).all()


def test_iteration_may_stop_early(folder):
    data = ImageFolder(folder, "raw", batch_size=1)
    for x, _ in data:
        assert x.shape[0] == 1
        break
    assert len(list(data)) == 7


def test_fingerprint(folder, tmp_path):
    base = ImageFolder(folder, size=32)
    assert ImageFolder(folder, size=32).fingerprint == base.fingerprint
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert ImageFolder(moved, size=32).fingerprint == base.fingerprint
    others = [
        ImageFolder(folder, size=33),
        ImageFolder(folder, "tf", size=32),
        ImageFolder(folder, size=32, classes=5),
        base.take([0, 1]),
        base.take([1, 0]),
    ]
    picture(8, 50, 50).save(moved / "3.png")
    others.append(ImageFolder(moved, size=32))
    write_csv(folder, [f"{i}.png,{(i + 1) % 3}" for i in range(7)])
    others.append(ImageFolder(folder, size=32))
    assert len({data.fingerprint for data in [base, *others]}) == 1 + len(others)


def test_pickled_dataset_is_the_same(folder):
    data = ImageFolder(folder, size=16)
    data.get(range(7))
    copy = pickle.loads(pickle.dumps(data.take([3, 1])))
    assert len(pickle.dumps(data)) < 10_000  # the cache stays behind
    assert (copy.get([0, 1])[0] == data.get([3, 1])[0]).all()
    assert copy.fingerprint == data.take([3, 1]).fingerprint


def test_subset_of_a_subset(folder):
    data = ImageFolder(folder, "raw")
    subset = data.take([6, 4, 2]).take([2, 0])
    assert subset.labels.tolist() == [2, 0]
    assert subset.item_name(0).endswith("2.png")
    assert subset.classes == 3
    ((x, labels),) = subset
    assert (x == data.get([2, 6])[0]).all()
    assert labels.tolist() == [2, 0]


@pytest.mark.parametrize("indices", [[], [7], [-1], [0.5], [[0]], [True]])
def test_bad_indices(folder, indices):
    with pytest.raises(InvalidArgument, match="indices"):
        ImageFolder(folder).get(indices)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(0, 5), st.data())
def test_calibration_is_spread_over_classes(labels, seed, draw):
    data = ArrayDataset(np.arange(float(len(labels)))[:, None], labels)
    n = draw.draw(st.integers(1, len(labels)))
    chosen = data.calibration(n, seed)
    items = chosen.get(range(n))[0][:, 0].astype(int)
    assert len(set(items)) == n
    held, had = (np.bincount(x, minlength=7) for x in (chosen.labels, data.labels))
    assert (np.array(labels)[items] == chosen.labels).all()
    for kind in np.flatnonzero(held < had):  # a class with items left has no fewer than any other, less one
        assert held[kind] >= held.max() - 1
    assert data.calibration(n, seed).fingerprint == chosen.fingerprint


def test_calibration_limits():
    data = Digits("test")
    assert np.bincount(data.calibration(50).labels).tolist() == [5] * 10
    assert data.calibration(50, seed=0).fingerprint != data.calibration(50, seed=1).fingerprint
    for n in (0, 600):
        with pytest.raises(InvalidArgument, match=r"1\.\.599"):
            data.calibration(n)


# --- arrays, digits, open_dataset ------------------------------------------------------------------


def test_array_dataset():
    x = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    data = ArrayDataset(x, [0, 1, 0, 1, 3, 0], batch_size=4, class_names=["a", "b", "c", "d"])
    assert [(b.shape, b.dtype) for b, _ in data] == [((4, 2, 2), np.float32), ((2, 2, 2), np.float32)]
    assert data.classes == 4
    assert (data.get([4])[0] == x[4]).all()
    changed = x.copy()
    changed[0, 0, 0] += 1
    assert ArrayDataset(changed, data.labels).fingerprint != data.fingerprint
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 1


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((2, 3)), [0], "2 inputs but 1 labels"),
        (np.zeros((2, 3)), [0.0, 1.0], "integers"),
        (np.zeros((2, 3)), [[0, 1], [1, 0]], "integers"),
        (np.zeros((2, 3)), [0, -1], "item 1 has label -1"),
        (np.zeros((0, 3)), np.zeros(0, int), "no items"),
        (np.zeros(2), [0, 1], "expected real numbers"),
        (np.array([["a"], ["b"]]), [0, 1], "expected real numbers"),
    ],
)
def test_bad_arrays(x, y, message):
    with pytest.raises(InvalidArgument, match=message):
        ArrayDataset(x, y)


def test_digits_splits_are_disjoint_and_complete():
    train, test, everything = (Digits(split) for split in ("train", "test", "all"))
    assert (len(train), len(test), len(everything)) == (1198, 599, 1797)
    rows = [{x.tobytes() for x in data.get(range(len(data)))[0]} for data in (train, test, everything)]
    assert rows[0] | rows[1] == rows[2]
    assert not rows[0] & rows[1]
    x, _ = test.get(range(5))
    assert x.shape == (5, 1, 8, 8)
    assert x.min() == 0
    assert x.max() == 1
    assert Digits("test").fingerprint == test.fingerprint != Digits("test", seed=1).fingerprint
    assert test.labels[:8].tolist() == [3, 7, 2, 5, 0, 5, 5, 5]  # the split of every version
    with pytest.raises(InvalidArgument, match="'valid'"):
        Digits("valid")


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels")])
def test_npz(tmp_path, names):
    path = tmp_path / "set.npz"
    pixels = np.stack([np.asarray(picture(i)) for i in range(3)])
    np.savez_compressed(path, **dict(zip(names, (pixels, np.array([0, 2, 1])), strict=True)))
    ready, images = open_dataset(path), open_dataset(path, "imagenet", size=16, layout="NHWC")
    assert ready.get([1])[0].shape == (1, 40, 40, 3)
    assert images.get([1])[0].shape == (1, 16, 16, 3)
    assert images.labels.tolist() == [0, 2, 1]
    assert images.name == "set"
    expected = PRESETS["imagenet"].with_size(16)(picture(1)).transpose(1, 2, 0)
    assert (images.get([1])[0][0] == expected).all()


def test_bad_npz(tmp_path):
    path = tmp_path / "set.npz"
    with pytest.raises(InvalidArgument, match="existing"):
        open_dataset(tmp_path / "set.zip")
    with pytest.raises(InvalidArgument, match="no such file"):
        open_dataset(path)
    np.savez(path, a=np.zeros(3), y=np.zeros(3))
    with pytest.raises(InvalidArgument, match=r"x and y.*found a, y"):
        open_dataset(path)
    np.savez(path, x=np.array([{}], object), y=np.zeros(1, int))
    with pytest.raises(CorruptFile, match=r"set\.npz"):
        open_dataset(path)
    np.savez(path, x=np.random.default_rng(0).random((50, 3)), y=np.zeros(50, int))
    whole = path.read_bytes()
    for length in (0, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFile, match=r"set\.npz"):
            open_dataset(path)
    path.write_bytes(whole)
    with pytest.raises(InvalidArgument, match=r"float64 \[50, 3\]"):
        open_dataset(path, "imagenet")
    with pytest.raises(InvalidArgument, match="3 images but 2 labels"):
        ImageArray(np.zeros((3, 4, 4), np.uint8), [0, 1])


class Network:
    """Stands for a model: all that open_dataset reads is the shape of its input."""

    def __init__(self, *shape: int | str | None) -> None:
        self.inputs = [self]
        self.shape = shape


def test_open_dataset(folder):
    data = Digits("test")
    assert open_dataset(data) is data
    assert open_dataset("digits", model=Network("N", 1, 8, 8)).fingerprint == data.fingerprint
    with pytest.warns(UserWarning, match="'imagenet' is assumed. Another one may be right: best_preprocess"):
        assert open_dataset(folder).get([0])[0].shape == (1, 3, 224, 224)
    with pytest.warns(UserWarning, match="none was given"):
        assert open_dataset(str(folder), model=Network("N", 3, 64, 48)).get([0])[0].shape == (1, 3, 64, 48)
    assert open_dataset(folder, "tf", model=Network(1, 96, 96, 3)).get([0])[0].shape == (1, 96, 96, 3)
    assert open_dataset(folder, "imagenet", size=8, model=Network(1, 96, 96, 3)).get([0])[0].shape == (
        1,
        8,
        8,
        3,
    )
    assert open_dataset(folder, half, model=Network("N", 3, 64, 64)).get([0])[0].shape == (1, 3, 40, 40)


def test_open_dataset_refuses_options_without_effect(tmp_path):
    np.savez(tmp_path / "set.npz", x=np.zeros((2, 3)), y=np.zeros(2, int))
    for source, options, message in [
        ("digits", {"preprocess": "tf"}, "no preprocess"),
        ("digits", {"size": 8}, "no size"),
        ("digits", {"labels": "labels.csv"}, "only a folder"),
        (tmp_path / "set.npz", {"size": 8}, r"set\.npz holds tensors"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            open_dataset(source, **options)
