"""Folders of images as streams: what becomes of them, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.streams._image_layout import holds_images
from tests.training.streams.pictures import picture, save, write_classes

NAMES = ["cat", "dog", "item2", "item10"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CFSWEEP_CACHE", str(found))
    return found


def load(folder: Path, **given: Any) -> Stream:
    args = {key: given.pop(key) for key in ("size", "mode", "tasks", "layout") if key in given}
    return load_stream(StreamConfig(name=str(folder), args=args, **given))


def pixels_in(stream: Stream, part: str) -> list[bytes]:
    """Those of each example of a part, task by task, sorted."""
    return [b for task in stream.tasks for b in sorted(x.numpy().tobytes() for x in stream.x[task.parts[part]])]


def all_in(stream: Stream, number: int) -> np.ndarray:
    return np.sort(np.concatenate(list(stream.tasks[number].parts.values())))


# ------------------------------------------------------------------------------------------------ layouts


def test_classes_are_cut_into_tasks_in_natural_order(tmp_path: Path) -> None:
    stream = load(write_classes(tmp_path / "data", NAMES), n_tasks=2)
    assert [(task.name, task.classes) for task in stream.tasks] == [("cat, dog", (0, 1)), ("item2, item10", (2, 3))]
    assert (stream.x.shape, stream.x.dtype) == ((48, 3, 8, 8), torch.uint8)
    assert stream.test_share == 0.2
    for number, task in enumerate(stream.tasks):
        assert {part: len(of) for part, of in task.parts.items()} == {
            "train": 18,
            "steering": 0,
            "validation": 2,
            "test": 4,
        }
        assert set(stream.y[torch.from_numpy(all_in(stream, number))].tolist()) == set(task.classes)
    for k, name in enumerate(NAMES):
        for number in (0, 2, 11):  # sorted as people do: 2.png before 11.png
            with Image.open(tmp_path / "data" / name / f"{number}.png") as image:
                assert torch.equal(stream.x[12 * k + number], pil_to_tensor(image))
                assert int(stream.y[12 * k + number]) == k


def test_a_class_order_and_lists_of_classes(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "data", NAMES)
    order = [NAMES[k] for k in np.random.default_rng(3).permutation(4)]
    stream = load(folder, n_tasks=2, class_order=3)
    assert [task.name for task in stream.tasks] == [", ".join(order[:2]), ", ".join(order[2:])]
    named = load(folder, tasks=[order[:2], order[2:]])
    assert [vars(task).keys() for task in named.tasks] == [vars(task).keys() for task in stream.tasks]
    assert named.digest == stream.digest
    assert load(folder, n_tasks=2).digest != stream.digest
    uneven = load(folder, tasks=[["item10"], ["cat", "item2", "dog"]])
    assert [task.classes for task in uneven.tasks] == [(0,), (1, 2, 3)]
    assert uneven.y[torch.from_numpy(all_in(uneven, 0))].tolist() == [0] * 12
    assert torch.equal(uneven.x[all_in(uneven, 0)], stream.x[36:])


@pytest.mark.parametrize("called", ["test", "val", "Validation"])
def test_parts_are_kept_apart(tmp_path: Path, called: str) -> None:
    write_classes(tmp_path / "data" / "train", NAMES)
    write_classes(tmp_path / "data" / called, NAMES[1:], n=3, seed=1)  # a class need not be tested
    stream = load(tmp_path / "data", n_tasks=2)
    assert stream.test_share == 0.0
    assert [len(task.test) for task in stream.tasks] == [3, 6]
    given = [
        np.transpose(picture(1000 + 100 * k + n, bright=200 * k // 3), (2, 0, 1)).tobytes()
        for k in range(3)
        for n in range(3)
    ]
    assert sorted(pixels_in(stream, "test")) == sorted(given)


def test_tasks_in_folders(tmp_path: Path) -> None:
    for number, task in enumerate(["month-2", "month-10"]):
        write_classes(tmp_path / "data" / task, NAMES[number : number + 2], seed=number)
    stream = load(tmp_path / "data", scenario="domain-il")
    assert [(task.name, task.classes) for task in stream.tasks] == [("month-2", (0, 1)), ("month-10", (1, 2))]
    assert list(stream.files) == ["images of month-2", "images of month-10", "pixels as read"]
    assert load(tmp_path / "data", layout="tasks").digest == stream.digest
    assert [len(task.test) for task in stream.tasks] == [4, 4]


def test_tasks_in_folders_with_parts(tmp_path: Path) -> None:
    for task in ("1", "2"):
        write_classes(tmp_path / "data" / task / "train", ["a", "b"], seed=int(task))
        write_classes(tmp_path / "data" / task / "test", ["a", "b"], n=2, seed=5 + int(task))
    stream = load(tmp_path / "data")
    assert [task.name for task in stream.tasks] == ["1", "2"]
    assert [len(task.test) for task in stream.tasks] == [4, 4]
    assert stream.test_share == 0.0


def test_folders_that_are_called_train_and_test_may_be_tasks(tmp_path: Path) -> None:
    for task in ("test", "train"):
        write_classes(tmp_path / "data" / task, ["a", "b"])
    assert [task.name for task in load(tmp_path / "data", layout="tasks").tasks] == ["test", "train"]


def test_classes_of_folders_of_tasks_are_numbered_by_name_over_all_tasks(tmp_path: Path) -> None:
    write_classes(tmp_path / "data" / "1", ["zebra", "item10"])
    write_classes(tmp_path / "data" / "2", ["ant", "item2"], seed=1)
    stream = load(tmp_path / "data", scenario="class-il")
    assert stream.class_ids == ("ant", "item2", "item10", "zebra")
    assert [task.classes for task in stream.tasks] == [(2, 3), (0, 1)]


@pytest.mark.parametrize(
    ("names", "ids"),
    [(["7", "10"], (7, 10)), (["0", "1"], ()), (["07", "8"], ("07", "8")), (["a", "1"], ("1", "a"))],
)
def test_names_are_the_labels_as_numbers_where_all_are_some(
    tmp_path: Path, names: list[str], ids: tuple[int | str, ...]
) -> None:
    assert load(write_classes(tmp_path / "data", names), n_tasks=1).class_ids == ids


def test_the_labels_follow_the_class_order(tmp_path: Path) -> None:
    stream = load(write_classes(tmp_path / "data", ["3", "5", "8"]), tasks=[["8", "3"], ["5"]])
    assert stream.class_ids == (8, 3, 5)
    assert stream.user_labels(stream.tasks[1].test) == [5, 5]
    stream = load(write_classes(tmp_path / "words", ["ant", "bee", "cow"]), tasks=[["cow", "ant"], ["bee"]])
    assert stream.class_ids == ("cow", "ant", "bee")
    assert stream.user_labels(stream.tasks[1].test) == ["bee", "bee"]


def test_what_is_no_image_and_harmless_is_passed_over(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "data", ["a", "b"])
    before = load(folder, n_tasks=1)
    for name in (".DS_Store", "Thumbs.db", "README.md", "a/.DS_Store", "b/Thumbs.db", "a/desktop.ini", "a/labels.csv"):
        (folder / name).write_bytes(b"no image")
    save(folder / "__MACOSX" / "a" / "0.png", picture(0))
    save(folder / ".hidden" / "0.png", picture(0))
    after = load(folder, n_tasks=1)
    assert (after.digest, after.files) == (before.digest, before.files)


def test_a_folder_of_tasks_in_files_stays_one(tmp_path: Path) -> None:
    write_classes(tmp_path, ["a", "b"], n=1)
    assert holds_images(tmp_path)
    np.savez(tmp_path / "task.npz", x_train=np.zeros((4, 2)), y_train=[0, 1, 0, 1])
    assert not holds_images(tmp_path)
    (tmp_path / "empty").mkdir()
    assert not holds_images(tmp_path / "empty")


# ------------------------------------------------------------------------------------------------ sizes and modes


@pytest.mark.parametrize("size", [8, 5, 13, 40])
def test_a_size_is_that_of_torchvisions_resize_and_centre_crop(tmp_path: Path, size: int) -> None:
    shapes = [(8, 8), (9, 31), (33, 10), (17, 16), (64, 47)]
    for k, shape in enumerate(shapes * 4):
        save(tmp_path / "data" / "ab"[k // 10] / f"{k}.png", picture(k, shape))
    stream = load(tmp_path / "data", size=size, n_tasks=1)
    usual = v2.Compose([v2.Resize(size), v2.CenterCrop(size)])
    for k, x in enumerate(stream.x):
        with Image.open(tmp_path / "data" / "ab"[k // 10] / f"{k}.png") as image:
            assert torch.equal(x, pil_to_tensor(usual(image)))


def test_a_height_and_a_width_are_covered_and_cut_out(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 250  # the middle third
    for k in range(20):
        save(tmp_path / "data" / "ab"[k // 10] / f"{k}.png", wide)
    stream = load(tmp_path / "data", size=[10, 10], n_tasks=1)
    assert stream.input_shape == (3, 10, 10)
    assert int(stream.x[:, :, :, 2:8].min()) == 250
    assert load(tmp_path / "data", size=[10, 30], n_tasks=1).input_shape == (3, 10, 30)


def test_modes(tmp_path: Path) -> None:
    grey = load(write_classes(tmp_path / "grey", ["a", "b"], mode="L"), n_tasks=1)
    assert grey.input_shape == (1, 8, 8)
    assert torch.equal(load(tmp_path / "grey", n_tasks=1, mode="rgb").x, grey.x.expand(-1, 3, -1, -1))
    colours = load(write_classes(tmp_path / "rgb", ["a", "b"]), n_tasks=1, mode="grey")
    with Image.open(tmp_path / "rgb" / "a" / "0.png") as image:
        assert torch.equal(colours.x[0], pil_to_tensor(image.convert("L")))


def test_transparency_and_palettes_are_colours(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "data", ["a", "b"])
    image = Image.fromarray(picture(3))
    clear = image.copy()
    clear.putalpha(7)
    clear.save(folder / "a" / "0.png")
    image.quantize(4).save(folder / "a" / "1.png", transparency=b"\0\1\2\3")
    stream = load(folder, n_tasks=1)
    assert torch.equal(stream.x[0], pil_to_tensor(image))
    assert torch.equal(stream.x[1], pil_to_tensor(image.quantize(4).convert("RGB")))


def test_jpeg_files(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "data", ["a", "b"])
    for k, suffix in enumerate((".jpg", ".JPEG", ".JPG")):
        save(folder / "a" / f"photo-{k}{suffix}", picture(k))
    stream = load(folder, n_tasks=1)
    assert len(stream.x) == 27
    with Image.open(folder / "a" / "photo-0.jpg") as image:
        assert torch.equal(stream.x[12], pil_to_tensor(image))


# ------------------------------------------------------------------------------------------------ what is refused


def _damage(folder: Path) -> None:
    path = folder / "b" / "3.png"
    path.write_bytes(path.read_bytes()[:-40])


def _not_an_image(folder: Path) -> None:
    (folder / "b" / "3.png").write_bytes(b"GIF89a, but no")


def _sixteen_bits(folder: Path) -> None:
    save(folder / "b" / "3.png", np.full((8, 8), 40_000, np.uint16))


def _unreadable(folder: Path) -> None:
    (folder / "b" / "3.png").unlink()
    (folder / "b" / "3.png").symlink_to("nothing.png")


def _one_left(folder: Path) -> None:
    for path in (folder / "b").iterdir():
        if path.name != "0.png":
            path.unlink()


def _empty(folder: Path) -> None:
    for path in (folder / "b").iterdir():
        path.unlink()


BROKEN: dict[str, tuple[Any, dict[str, Any], str]] = {
    "truncated": (_damage, {}, "b/3.png: the image is damaged or not what its name says ("),
    "no image inside": (_not_an_image, {}, "b/3.png: the image is damaged or not what its name says (Unidentified"),
    "16 bits": (_sixteen_bits, {}, "b/3.png: images of 8 bits a value are read, but it is of Pillow's mode I;16."),
    "a link to nothing": (_unreadable, {}, "b/3.png: it cannot be read (no such file or directory). Mend or drop it."),
    "one image": (_one_left, {}, "too few examples of class b: a share of 0.2 of its 1 must leave at least 1"),
    "the latest": (lambda folder: None, {"validation": "latest"}, "but files lie in that of their classes. Take `rand"),
    "an empty class": (_empty, {}, "a class needs images, but the folder b holds none. Add some, or drop it."),
    "two sizes": (
        lambda folder: save(folder / "b" / "3.png", picture(0, (7, 9))),
        {},
        "a/0.png has 8 x 8 pixels and b/3.png 7 x 9 (height x width). Set `stream.args.size`",
    ),
    "two modes": (
        lambda folder: save(folder / "b" / "3.png", picture(0, mode="L")),
        {},
        "a/0.png is rgb and b/3.png is not. Set `stream.args.mode` to grey or rgb",
    ),
    "another file": (
        lambda folder: (folder / "b" / "3.webp").write_bytes(b""),
        {},
        "a class's folder holds images (.png, .jpg, .jpeg), but b/3.webp is none. Convert it",
    ),
    "an image without a class": (
        lambda folder: save(folder / "lone.png", picture(0)),
        {},
        "lone.png lies beside folders, so that nothing says its class. Move it into one.",
    ),
    "levels": (
        lambda folder: write_classes(folder / "c", ["d"]),
        {},
        "folders of one level must be of one kind, but a holds none and c holds folders. Move one of them elsewhere.",
    ),
    "no n_tasks": (
        lambda folder: None,
        {"n_tasks": None},
        "its 2 classes must be cut into tasks of equally many, but nothing says how. Set `stream.n_tasks` to one of 1,",
    ),
    "n_tasks": (lambda folder: None, {"n_tasks": 3}, "but got n_tasks=3. Set `stream.n_tasks` to one of 1, 2, or"),
    "an unknown class": (
        lambda folder: None,
        {"n_tasks": None, "tasks": [["a"], ["c"]]},
        "tasks: unknown class `c`. Known, closest first: a, b.",
    ),
    "a class twice": (lambda folder: None, {"n_tasks": None, "tasks": [["a"], ["a", "b"]]}, "`tasks` has `a` twice"),
    "a class missing": (lambda folder: None, {"n_tasks": None, "tasks": [["a"]]}, "but `tasks` lacks b. Add them."),
    "tasks and n_tasks": (lambda folder: None, {"n_tasks": 1, "tasks": [["a"], ["b"]]}, "it has 2 tasks, but got n_t"),
    "tasks and an order": (
        lambda folder: None,
        {"n_tasks": None, "class_order": 1, "tasks": [["a"], ["b"]]},
        "`class_order` must be `fixed`, because `tasks` says it, but got class_order=1.",
    ),
    "tasks of words": (lambda folder: None, {"tasks": ["a", "b"]}, "`tasks` must be a list with a list of classes"),
    "amounts": (
        lambda folder: None,
        {"target": "regression"},
        "its labels are classes, but the target `regression` learns amounts. Take `classification`",
    ),
    "size": (lambda folder: None, {"size": 0}, "`size` must be a number of pixels, or [height, width], but got 0."),
    "sizes": (lambda folder: None, {"size": [8, 8, 3]}, "or [height, width], but got [8, 8, 3]."),
    "mode": (lambda folder: None, {"mode": "gray"}, "mode: unknown value `gray`. Known, closest first: grey, rgb."),
    "layout": (lambda folder: None, {"layout": "task"}, "layout: unknown value `task`. Known, closest first: tasks"),
    "another layout": (
        lambda folder: None,
        {"layout": "tasks"},
        "`layout` is tasks, but its folders are of classes: there is no folder above those of classes. Leave it out.",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    change, given, said = BROKEN[case]
    folder = write_classes(tmp_path / "data", ["a", "b"])
    change(folder)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        load(folder, **{"n_tasks": 1, **given})
    assert str(caught.value).startswith(f"stream `{folder}`")
    assert "\n" not in str(caught.value)


def test_an_argument_that_there_is_not(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "data", ["a", "b"])
    with pytest.raises(InputError, match=r"unknown argument `sise`\. Known, closest first: size"):
        load_stream(StreamConfig(name=str(folder), args={"sise": 3}))


def refused(folder: Path, said: str, **given: Any) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        load(folder, **given)


def test_parts_that_are_none(tmp_path: Path) -> None:
    write_classes(tmp_path / "data" / "train", ["a", "b"])
    refused(tmp_path / "data", "data needs one folder `train` and one `test` (or `val`), but has train.")
    write_classes(tmp_path / "data" / "2021", ["a", "b"])
    refused(tmp_path / "data", "train beside 2021 may be parts or tasks.")
    for name in ("test", "val"):
        write_classes(tmp_path / "three" / name, ["a", "b"])
    write_classes(tmp_path / "three" / "train", ["a", "b"])
    refused(tmp_path / "three", "but has test, train, val. Validation data are cut from `train`")
    write_classes(tmp_path / "more" / "train", ["a"])
    write_classes(tmp_path / "more" / "test", ["a", "c"])
    refused(tmp_path / "more", "classes to test on must be there to train on, but `c` is not in more/train.")
    write_classes(tmp_path / "tasks" / "2021", ["a", "b"])
    refused(
        tmp_path / "tasks", "`layout` is classes, but its folders are of tasks: there is a folder", layout="classes"
    )


def test_tasks_of_which_some_have_parts(tmp_path: Path) -> None:
    write_classes(tmp_path / "data" / "1" / "train", ["a"])
    write_classes(tmp_path / "data" / "1" / "test", ["a"])
    write_classes(tmp_path / "data" / "2", ["a"])
    refused(tmp_path / "data", "folders of one level must be of one kind, but 1 holds folders of folders and 2 holds")


def test_images_that_lie_too_high_or_too_deep(tmp_path: Path) -> None:
    save(tmp_path / "flat" / "0.png", picture(0))
    refused(tmp_path / "flat", "each class needs a folder of its own, but images lie in flat itself.")
    write_classes(tmp_path / "deep" / "a" / "b" / "train", ["c"])
    refused(tmp_path / "deep", "images lie at most 3 folders deep (task/train/class), but here 4.")


# ------------------------------------------------------------------------------------------------ hashes and the cache


def test_one_digest_for_each_task_tells_what_has_changed(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "data", NAMES)
    before = load(folder, n_tasks=2).files
    assert list(before) == ["images of cat, dog", "images of item2, item10", "pixels as read"]
    moved = folder.rename(tmp_path / "moved")
    assert load(moved, n_tasks=2).files == before
    (moved / "cat" / "0.png").rename(moved / "cat" / "zero.png")
    after = load(moved, n_tasks=2).files
    assert [before[name] == after[name] for name in before] == [False, True, False]
    save(moved / "item2" / "0.png", picture(999))
    assert load(moved, n_tasks=2).files["images of item2, item10"] != before["images of item2, item10"]


def test_pixels_are_read_once_and_mapped(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_classes(tmp_path / "data", NAMES)
    first = load(folder, n_tasks=2)
    (path,) = (cache / "images").iterdir()
    assert Path(first.mapped) == path
    assert path.stat().st_size == 128 + 48 * 3 * 8 * 8
    read = "cfsweep.training.streams._image_store.pixels_of"
    monkeypatch.setattr(read, lambda *_, **__: pytest.fail("they were read again"))
    assert load(folder, n_tasks=4).x.equal(first.x)  # however they are cut
    assert load(folder, n_tasks=2).digest == first.digest
    monkeypatch.undo()
    monkeypatch.setenv("CFSWEEP_CACHE", str(cache))
    load(folder, n_tasks=2, size=4)
    assert len(list((cache / "images").iterdir())) == 2


def test_features_are_not_what_is_mapped(tmp_path: Path) -> None:
    stream = load(write_classes(tmp_path / "data", NAMES), n_tasks=2, encoder="tests.own_encoders:doubled")
    assert stream.input_shape == (3 * 8 * 8,)
    assert stream.mapped == "", "or a worker would take the pixels for them"


@pytest.mark.parametrize("damage", ["another byte", "too short", "empty"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    folder = write_classes(tmp_path / "data", NAMES)
    first = load(folder, n_tasks=2)
    path, pixels = Path(first.mapped), first.x.clone()
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.unlink()  # the mapping of before keeps its own
    path.write_bytes({"another byte": content, "too short": content[:-9], "empty": b""}[damage])
    again = load(folder, n_tasks=2)
    assert torch.equal(again.x, pixels)
    assert again.mapped == first.mapped


def test_a_cache_that_cannot_be_written_is_told_in_one_line(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_classes(tmp_path / "data", NAMES)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "file"))
    refused(
        folder, f"{tmp_path / 'file' / 'images'} (the cache of images; CFSWEEP_CACHE names another place)", n_tasks=2
    )


def test_nothing_is_left_of_a_cache_whose_images_were_damaged(tmp_path: Path, cache: Path) -> None:
    folder = write_classes(tmp_path / "data", ["a", "b"])
    _damage(folder)
    refused(folder, "b/3.png: the image is damaged", n_tasks=1)
    assert list((cache / "images").iterdir()) == []
