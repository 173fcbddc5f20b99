"""What a process is given of its machine, in made-up trees of control groups and in real ones."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cfsweep.machine import cpus, memory_bytes

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
MB = 2**20


def tree(root: Path, groups: str, limits: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in limits.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/", {"memory.max": str(7 * MB)}, 7 * MB),
        ("0::/job/step", {"job/memory.max": str(6 * MB), "job/step/memory.max": "max"}, 6 * MB),
        ("0::/job/step", {"job/memory.max": str(6 * MB), "job/step/memory.max": str(5 * MB)}, 5 * MB),
        ("0::/job", {"other/memory.max": str(6 * MB), "memory.max": "max"}, MACHINE),
        ("0::/of/the/host", {"memory.max": str(4 * MB)}, 4 * MB),
        ("3:cpu,memory:/job\n0::/", {"memory/job/memory.limit_in_bytes": str(3 * MB)}, 3 * MB),
        ("4:memory:/job", {"memory/memory.limit_in_bytes": "9223372036854771712"}, MACHINE),
        ("4:cpu:/job\n1:name=systemd:/job", {"memory/job/memory.limit_in_bytes": str(3 * MB)}, MACHINE),
        ("0::/", {"memory.max": "max"}, MACHINE),
        ("0::/", {"memory.max": str(2 * MACHINE)}, MACHINE),
        ("", {}, MACHINE),
    ],
)
def test_the_least_limit_around_a_process_counts(
    tmp_path: Path, groups: str, limits: dict[str, str], expected: int
) -> None:
    assert memory_bytes(tree(tmp_path, groups, limits)) == expected


def test_outside_of_linux_it_is_the_machines(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path) == MACHINE


@pytest.fixture
def group_of_256_mb() -> Iterator[Path]:
    """A control group of this machine's own that may take 256 MB."""
    top, name = Path("/sys/fs/cgroup"), "memory.max"
    if (top / "memory").is_dir():  # version 1
        top, name = top / "memory", "memory.limit_in_bytes"
    folder = top / f"cfsweep-{uuid.uuid4().hex}"
    try:
        folder.mkdir()
    except OSError as e:
        pytest.skip(f"control groups cannot be made here: {e}")
    try:
        if not (folder / name).exists():
            pytest.skip("the control groups of this machine do not limit memory")
        (folder / name).write_text(str(256 * MB))
        yield folder
    finally:
        folder.rmdir()


def test_a_real_control_group_is_seen(group_of_256_mb: Path) -> None:
    asked = (
        "import os, pathlib, sys\n"
        "from cfsweep.errors import InputError\n"
        "from cfsweep.files import require_memory\n"
        "from cfsweep.machine import memory_bytes\n"
        "from cfsweep.training.networks._args import require_fits\n"
        "pathlib.Path(sys.argv[1], 'cgroup.procs').write_text(str(os.getpid()))\n"
        "print(memory_bytes())\n"
        "require_memory(127 * 2**20, 'a file'), require_fits('mlp', 31 * 2**20)\n"
        "for refused in (lambda: require_memory(129 * 2**20, 'a file'), lambda: require_fits('mlp', 33 * 2**20)):\n"
        "    try:\n"
        "        refused()\n"
        "    except InputError as error:\n"
        "        print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", asked, group_of_256_mb], capture_output=True, text=True, check=True)
    limit, of_file, of_network = run.stdout.splitlines()
    assert int(limit) == 256 * MB
    assert of_file.startswith(f"a file: it has {129 * MB} bytes, and half of the memory here, {128 * MB}, ")
    assert of_network.startswith(
        "network `mlp`: it would have 3.46e+07 parameters, and there is memory here for 3.36e+07 "
    )


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds processes to CPUs")
def test_cpus_are_those_that_the_process_is_bound_to() -> None:
    one = min(os.sched_getaffinity(0))
    asked = (
        f"import os; os.sched_setaffinity(0, {{{one}}})\n"
        "from cfsweep.machine import cpus\n"
        "from cfsweep.sweeping.ray_backend.cluster import workers_here\n"
        "from cfsweep.sweeping.scheduler import Workers\n"
        "print(cpus(), workers_here(Workers(gpus_each=0.0)))\n"
    )
    run = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "1"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux has control groups")
@pytest.mark.parametrize(
    ("quota", "most"), [("max 100000", None), ("100000 100000", 1), ("50000 100000", 1), ("110000 100000", 2)]
)
def test_cpus_are_no_more_than_the_time_that_a_container_is_given(
    quota: str, most: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, real_open, real_exists = tmp_path / "cpu.max", open, os.path.exists
    ours.write_text(quota + "\n")

    def place(path: Any) -> Any:
        return ours if path == "/sys/fs/cgroup/cpu.max" else path

    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    monkeypatch.setattr("builtins.open", lambda path, *args, **kwargs: real_open(place(path), *args, **kwargs))
    monkeypatch.setattr(os.path, "exists", lambda path: real_exists(place(path)))
    bound = len(os.sched_getaffinity(0))
    assert cpus() == min(bound, most or bound)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert cpus() == 1
