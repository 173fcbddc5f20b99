"""Cases that once failed, each by what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load, save

from cfsweep.results.ledger import parsed
from cfsweep.results.sealing import sealed_line, sealed_text
from tests.fuzz.bundles import BUNDLE_READERS, BUNDLE_USES, hashes
from tests.fuzz.cases import THINGS, Case, Edit, thing
from tests.fuzz.commands import ADOPTED, DRY, TRAINED
from tests.fuzz.own_data import array, column
from tests.fuzz.results import with_its_id
from tests.fuzz.templates import SPACE, TABLE_ARGS
from tests.fuzz.values import BOMB
from tests.fuzz.weights import PICKLED, SAFE, tensor

CONTINUE = BUNDLE_READERS[0]
HOLE = "a hole of 2**30 bytes"
PART = "runs/pack000001-a1-t1.parquet"
RUN = ("run", "space.yaml", "--stream", "tasks")


def _set(*given: str, trained: bool = False) -> Case:
    args = [part for one in given for part in ("--set", one)]
    return Case(
        "set", (*RUN, *args, *(TRAINED if trained else DRY)), ("space.yaml", "tasks"), (), "out" if trained else None
    )


def _option(*given: str) -> Case:
    return Case("option", ("run", "space.yaml", *given, *DRY), ("space.yaml", "tasks", "table.csv"))


def _written(name: str, content: str | bytes) -> Edit:
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return Edit(name, lambda folder: (folder / name).write_bytes(raw))


def _space(content: str | bytes, trained: bool = False) -> Case:
    edits = (_written("space.yaml", content),)
    return Case("space", (*RUN, *(TRAINED if trained else DRY)), ("tasks",), edits, "out" if trained else None)


def _searched(text: str) -> Case:
    return _space(SPACE + text, trained=True)


def _study(change: Callable[[dict[str, Any]], object], *reads: str, name: str = "study.yaml") -> Case:
    def edit(folder: Path) -> None:
        path = folder / "study" / name
        is_yaml = name.endswith(".yaml")
        content = yaml.safe_load(path.read_text()) if is_yaml else json.loads(path.read_text())
        change(content)
        path.write_bytes(sealed_text(yaml.safe_dump(content).encode()) if is_yaml else json.dumps(content).encode())

    return Case("study", reads or ("status", "study"), ("study",), (Edit(f"{name} changed", edit),))


def _thing(path: str, way: str, *args: str, uses: tuple[str, ...] = ()) -> Case:
    return Case(
        "thing", args, ("space.yaml", *uses), (Edit(f"{path}: {way}", lambda folder: thing(folder / path, way)),)
    )


def _bundle(change: Callable[[dict[str, Any]], object]) -> Case:
    def edit(folder: Path) -> None:
        path = folder / "bundle/model.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return Case("bundle", CONTINUE, BUNDLE_USES, (Edit("model.json changed", edit),), "out")


def _state(change: Callable[[dict[str, torch.Tensor]], object], name: str = "state.safetensors") -> Case:
    """What the bundle keeps for the next task, or in another file, is other than was kept, with its hash."""

    def edit(folder: Path) -> None:
        path = folder / "bundle" / name
        tensors = load(path.read_bytes())
        change(tensors)
        path.write_bytes(save(tensors))

    edits = (Edit(f"{name} changed", edit),)
    return Case("bundle", CONTINUE, BUNDLE_USES, edits, "out", lambda folder: hashes("bundle", folder))


def _ledger(line: bytes, *reads: str) -> Case:
    """The ledger with one more line, which follows on the one before."""

    def edit(folder: Path) -> None:
        path = folder / "study/commits.jsonl"
        found = parsed(path.read_bytes())
        body = line.replace(b"N", b"%d" % found.n_lines).replace(b"B", found.last_check.encode())
        path.write_bytes(path.read_bytes() + sealed_line(body)[0])

    return Case("ledger", reads, ("study",), (Edit("a line more in commits.jsonl", edit),))


def _weights(way: str, name: str, of: str = "head.weight") -> Case:
    command = (*RUN, "--set", f"network.init={name}", *TRAINED)
    return Case("weights", command, ("space.yaml", "tasks", name), (tensor(name, of, way),), "out")


def _array(way: str, key: str, *args: str) -> Case:
    return Case("folder", (*RUN, *args, *TRAINED), ("space.yaml", "tasks"), (array("tasks/t0.npz", key, way),), "out")


def _csv(change: Callable[[str], str], *args: str) -> Case:
    def edit(folder: Path) -> None:
        path = folder / "table.csv"
        path.write_bytes(change(path.read_text()).encode("utf-8", "surrogateescape"))

    command = ("run", "space.yaml", "--stream", "table.csv", *TABLE_ARGS, "--scenario", "domain-il", *args, *DRY)
    return Case("table", command, ("space.yaml", "table.csv"), (Edit("table.csv changed", edit),))


def _column(number: int, name: str) -> Case:
    """A column of Parquet of another type."""
    edits = (Edit(f"table.parquet: {name} of type {number}", lambda folder: column(number, name)(folder)),)
    command = ("run", "space.yaml", "--stream", "table.parquet", *TABLE_ARGS, "--scenario", "domain-il", *TRAINED)
    return Case("table", command, ("space.yaml", "table.parquet"), edits, "out")


def _settings(**settings: Any) -> Case:
    return _bundle(lambda about: about["settings"].update(settings))


def _kept(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Case:
    return _state(lambda state: state.update({name: change(state[name])}))


CASES: dict[str, Case] = {
    "a YAML that is not UTF-8": _space(b"description: \xff\xfe\n"),
    "a bomb of aliases": _space(BOMB),
    "a bomb of aliases in --set": _set("network.args={" + BOMB.replace("\n", ", ") + "}"),
    "itself": _space("a: &a [*a]"),
    "itself as a mapping": _set("network.args=&a {x: *a}"),
    "!!timestamp": _space(SPACE + "  lr: !!timestamp 2021-13-45"),
    "!!float x": _set("lr=!!float x"),
    "a date that is none": _set("lr=2021-13-45"),
    "3,000 brackets": _set("lr=" + "[" * 3000),
    "3,000 braces": _space("a: " + "{a: " * 3000),
    "a number of 5,000 digits": _set("lr=" + "1" * 5000),
    "10 ** 400": _set("lr=1" + "0" * 400),
    "half a character": _set('description="\\ud800"', trained=True),
    "half a character in a file": _space(
        'description: "\\ud800"\n' + SPACE.replace("description: small\n", ""), trained=True
    ),
    "a description with U+0085": _space(SPACE.replace("small", '"sm\\x85all"'), trained=True),
    "a description with U+2028": _space(SPACE.replace("small", '"sm\\u2028all"'), trained=True),
    "a NUL in network.init": _set('network.init="\\0"'),
    "a NUL": _space(SPACE.replace("small", '"sm\\0all"'), trained=True),
    "a search of 3": _set("space.search=3"),
    "search = 3": _set("search=3"),
    "fixed = 1.0": _set("fixed=1.0"),
    "'x log' as a number": _set("search.lr={low: 1 log, high: 2}"),
    "hidden: [1e12]": _set("network.args.hidden=[1e12]"),
    "hidden: [10 ** 12]": _set("network.args.hidden=[1000000000000]"),
    "hidden: [10 ** 6, 10 ** 6]": _set("network.args.hidden=[1000000, 1000000]"),
    "hidden: [10 ** 20]": _set("network.args.hidden=[100000000000000000000]"),
    "hidden: -1": _set("network.args.hidden=[-1]"),
    "a million layers": _set("network.args.hidden=[" + ",".join(["1"] * 100_000) + "]"),
    "a buffer of 10 ** 20": _set("replay_buffer=99999999999999999999", trained=True),
    "a searched buffer to 10 ** 20": _searched(
        "  replay_buffer: {low: 1, high: 1.0e+20}\n".replace("1.0e+20", "100000000000000000000")
    ),
    "a choice of buffers of 10 ** 20": _set(
        "search.replay_buffer={choices: [10, 100000000000000000000]}", trained=True
    ),
    "10 ** 20 epochs": _set("epochs=100000000000000000000", trained=True),
    "a batch of 10 ** 20": _set("batch_size=100000000000000000000", trained=True),
    "ewc_examples of 10 ** 20": _set("ewc_examples=100000000000000000000", trained=True),
    "10 ** 20 trials": _option("--stream=tasks", "--trials=100000000000000000000"),
    "10 ** 20 seeds": _option("--stream=tasks", "--seeds=100000000000000000000"),
    "a seed of 10 ** 20": _set("sampler_seed=100000000000000000000", trained=True),
    "a split seed of 10 ** 20": _set("stream.split_seed=100000000000000000000", trained=True),
    "a class order of 10 ** 20": _set(
        "stream.name=split-digits", "stream.class_order=100000000000000000000", trained=True
    ),
    "curve points of 10 ** 20": _set("curve_points_per_task=100000000000000000000", trained=True),
    "zero over 1e-300 to 1e300": _set(
        "search.ewc_lambda={low: 1e-300, high: 1e300, log: true, zero: true}", trained=True
    ),
    "a range of 1e-300 to 1e300": _set("search.lr={low: 1e-300, high: 1e300, log: true}", trained=True),
    "a range of -1e308 to 1e308": _set("search.ewc_lambda={low: 0, high: 1.7e308}", trained=True),
    "a range of infinity": _set("search.ewc_lambda={low: 0, high: .inf}", trained=True),
    "a range of one subnormal": _set("search.lr={low: 5e-324, high: 1e-323, log: true}", trained=True),
    "lr of 1e300": _set("lr=1e300", trained=True),
    "lr of 5e-324": _set("lr=5e-324", trained=True),
    "--stream of no user": _option("--stream=~nosuchuser/x"),
    "--data of no user": _option("--stream=split-mnist", "--data=~nosuchuser/x"),
    "network.init of no user": _set("network.init=~nosuchuser/x"),
    "--out of a NUL": _option("--stream=tasks", "--out=a\x1bb"),
    "+²": Case("command", ("resume", "study", "--workers", "0", "--trials", "+²"), ("study",)),
    "+10 ** 20": Case(
        "command", ("resume", "study", "--workers", "0", "--trials", "+100000000000000000000"), ("study",)
    ),
    "+9 digits of another script": Case("command", ("resume", "study", "--workers", "0", "--trials", "+٣"), ("study",)),
    "--encoder of what is no character": _option("--stream=tasks", "--encoder=\ufffe"),
    "--score of what is no character": Case(
        "command",
        ("gate", "--champion=bundle", "--candidate=bundle", "--max-drop=0.1", "--score=\ufffe"),
        ("bundle", "tasks"),
    ),
    "--stream sys:exit": _option("--stream=sys:exit"),
    "--trainer sys:exit": _option("--trainer=sys:exit"),
    "--encoder sys:exit": _option("--stream=tasks", "--encoder=sys:exit"),
    "--target sys:exit": _option("--stream=tasks", "--target=sys:exit"),
    "network sys:exit": _set("network.name=sys:exit"),
    "channels_last on what are no images": _set("network.channels_last=true", trained=True),
    "a selection of two keys": _study(
        lambda record: [record.pop(key) for key in list(record) if key not in ("trial", "study_id")],
        *("confirm", "study", "--workers", "0"),
        name="selection.json",
    ),
    "a selected trial that is none": _study(
        lambda record: record.update(trial=99), "confirm", "study", "--workers", "0", name="selection.json"
    ),
    "a selected trial that is none, compared": _study(
        lambda record: record.update(trial=99), "compare", "study", name="selection.json"
    ),
    "a selected trial that is none, exported": _study(
        lambda record: record.update(trial=99), "export", "study", "--to", "m", name="selection.json"
    ),
    "a study of no tasks": _study(lambda study: study.pop("tasks"), "report", "study", "--out", "page.html"),
    "a study of no hypers": _study(lambda study: study.pop("hypers"), "report", "study", "--out", "page.html"),
    "a study of no config": _study(lambda study: study.pop("config")),
    "a study of no score": _study(lambda study: study.update(scores=[]), "front", "study"),
    "a study of no seeds": _study(lambda study: study["config"].pop("seeds")),
    "a study whose study_id is a list": _study(lambda study: study.update(study_id=[1])),
    "a study of another id than its parts": _study(
        lambda study: (study["config"].update(sampler_seed=7), with_its_id(study)), "repair", "study"
    ),
    **{
        f"{name}, {reads[0]}": _ledger(line, *reads)
        for name, line in (
            ("a ledger of 200,000 brackets", b'{"n":N,"files":' + b"[" * 200_000 + b',"before":"B"}'),
            (
                "a part of infinite size",
                b'{"n":N,"files":{"runs/a":["a",Infinity]},"runs":[],"attempt":1,"before":"B"}',
            ),
            ("attempt 2 ** 31 - 1", b'{"n":N,"files":{"runs/a":["a",1]},"runs":[],"attempt":2147483647,"before":"B"}'),
        )
        for reads in (
            ("status", "study"),
            ("check", "study"),
            ("repair", "study"),
            ("resume", "study", "--workers", "0"),
        )
    },
    "sparse weights": _weights("sparse", PICKLED),
    "weights of 1e300": _weights("of 1e300", SAFE),
    "classes to 10 ** 12": _bundle(lambda about: about["tasks"][0].update(classes=[10**12])),
    "a class of -1": _bundle(lambda about: about["tasks"][0].update(classes=[-1, 0])),
    "a bundle without batch_size": _bundle(lambda about: about["settings"].pop("batch_size")),
    "a bundle with a batch of -2 ** 63": _settings(batch_size=-(2**63)),
    "a bundle with a batch of 16.0": _settings(batch_size=16.0),
    "a bundle with a buffer of -infinity": _settings(replay_buffer="-Infinity"),
    "a bundle with a momentum of no number": _settings(momentum="\x1b[31m"),
    "a bundle with an optimizer that is none": _settings(optimizer="0.1.0"),
    "a kept example of class 32": _kept("replay/buffer/y", lambda y: y + 32),
    "a kept example of task -1": _kept("replay/buffer/task", lambda task: task - 1),
    "kept examples of another shape": _kept("replay/buffer/x", lambda x: x[:, :1].clone()),
    "kept examples of another type": _kept("replay/buffer/x", lambda x: x.to(torch.float64)),
    "kept classes that are amounts": _kept("replay/buffer/y", lambda y: y.to(torch.float32)),
    "fewer kept examples than there are": _kept("replay/buffer/n", lambda n: n + 1),
    "offered -1": _kept("replay/buffer/offered", lambda n: n - n - 1),
    "many steps": _kept("optimizer_steps", lambda n: n.expand(3).clone()),
    "no steps": _state(lambda state: state.pop("optimizer_steps")),
    "no places": _state(lambda state: state.pop("replay/buffer/place")),
    "kept by another name": _state(
        lambda state: state.update({"replay/buffer/Place": state.pop("replay/buffer/place")})
    ),
    "no shift": _state(lambda answers: answers.pop("shift"), "answers.safetensors"),
    "no features": _array("without features", "x_train"),
    "labels of uint64": _array("uint64", "y_train"),
    "labels near 2 ** 62": _array("near 2**62", "y_train"),
    "labels 10 ** 9 apart": _array("10**9 apart", "y_train"),
    "amounts of 1e300": _array("1e-300 and 1e300", "y_train", "--target", "regression"),
    "features of 1e300": _array("1e-300 and 1e300", "x_train"),
    "features of 1e38": _array("1e38", "x_train"),
    "20 dimensions": _array("of 20 dimensions", "x_train"),
    "a huge cell": _csv(lambda text: text.replace("red", "x" * 3_000_000, 1)),
    "a cell that ends nowhere": _csv(lambda text: text.replace("red", '"red', 1)),
    "a NUL in a cell": _csv(lambda text: text.replace("red", "r\0ed", 1)),
    "a control character in a name": _csv(lambda text: text.replace("kind", "ki\x1b[31mnd", 1)),
    "a huge name": _csv(lambda text: text.replace("kind", "k" * 3_000_000, 1)),
    "a name twice": _csv(lambda text: text.replace("kind", "a", 1)),
    "a label of 400 digits": _csv(lambda text: text.replace(",1,2024", f",{'1' * 400},2024")),
    "labels near 2 ** 63": _csv(
        lambda text: text.replace(",1,2024", f",{2**63},2024").replace(",0,2024", f",{2**64 - 1},2024")
    ),
    "labels beyond 2 ** 64": _csv(lambda text: text.replace(",1,2024", f",{2**64 + 1},2024")),
    **{f"a label of type {number}": _column(number, "label") for number in range(20)},
    **{f"a feature of type {number}": _column(number, "a") for number in range(20)},
    **{f"a task of type {number}": _column(number, "month") for number in range(20)},
    **{f"a task file: {way}": _thing("tasks/t0.npz", way, *RUN, *DRY, uses=("tasks",)) for way in THINGS},
    **{
        f"a part of a task: {way}": _thing(
            "parquet/t0.parquet", way, "run", "space.yaml", "--stream", "parquet", *DRY, uses=("parquet",)
        )
        for way in THINGS
    },
    **{
        f"a table: {way}": _thing("table.csv", way, "run", "space.yaml", "--stream", "table.csv", *TABLE_ARGS, *DRY)
        for way in THINGS
    },
    **{f"a stream: {way}": _thing("x", way, "run", "space.yaml", "--stream", "./x", *DRY) for way in THINGS},
    **{f"a space: {way}": _thing("space.yaml", way, *RUN, *DRY, uses=("tasks",)) for way in THINGS},
    **{
        f"an image: {way}": _thing(
            "images/one/cat/00.png", way, "run", "space.yaml", "--stream", "images", *DRY, uses=("images",)
        )
        for way in THINGS
    },
    **{
        f"next task: {way}": _thing(
            "next.npz", way, "continue", "bundle", "--task", "next.npz", "--to", "out", uses=("bundle",)
        )
        for way in THINGS
    },
    **{
        f"rows: {way}": _thing(
            "rows.csv", way, "predict", "table-bundle", "rows.csv", "--to", "a.csv", uses=("table-bundle",)
        )
        for way in THINGS
    },
    **{
        f"weights to adopt: {way}": _thing("w.safetensors", way, "adopt", "w.safetensors", *ADOPTED, uses=("tasks",))
        for way in THINGS
    },
    **{
        f"first weights: {way}": _thing("w.pt", way, *RUN, "--set", "network.init=w.pt", *DRY, uses=("tasks",))
        for way in THINGS
    },
    **{
        f"model.json: {way}": _thing(
            "bundle/model.json",
            way,
            "continue",
            "bundle",
            "--task",
            "next.npz",
            "--to",
            "out",
            uses=("bundle", "next.npz"),
        )
        for way in THINGS
    },
    **{f"study.yaml: {way}": _thing("study/study.yaml", way, "status", "study", uses=("study",)) for way in THINGS},
    **{
        f"selection.json: {way}": _thing(
            "study/selection.json", way, "gate", "study", "--beats", "naive", uses=("study",)
        )
        for way in THINGS
    },
    **{f"a part of runs: {way}": _thing(f"study/{PART}", way, "table", "study", uses=("study",)) for way in THINGS},
    **{
        f"{path}: {HOLE}, {reads[0]}": _thing(f"study/{path}", HOLE, *reads, uses=("study",))
        for path in ("study.yaml", "study.copy.yaml", PART, "runs/another.parquet")
        for reads in (
            *(("check", "study"), ("repair", "study"), ("table", "study"), ("export", "study", "--to", "m")),
            *(("resume", "study", "--workers", "0"), ("report", "study", "--out", "page.html")),
        )
    },
    **{f"--out: {way}": _thing("out", way, *RUN, *TRAINED, uses=("tasks",)) for way in THINGS},
}
