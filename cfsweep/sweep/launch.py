"""Runs a study on Ray, which is up."""

from __future__ import annotations

import tempfile

import ray
from ray import tune

from cfsweep.config import StudyConfig
from cfsweep.hypers import Hyper
from cfsweep.sweep.cluster import NAMESPACE, Up, Workers, worker_resources
from cfsweep.sweep.driver import Driver
from cfsweep.sweep.folder import Folder
from cfsweep.sweep.journal import open_study
from cfsweep.sweep.pack_size import chosen
from cfsweep.sweep.prefixes import recur
from cfsweep.sweep.progress import Display
from cfsweep.sweep.searcher import PackSearcher, StopOnInterrupt
from cfsweep.sweep.trainable import PackTrainable, pack_stream
from cfsweep.training.pack import example_counts
from cfsweep.training.streams import Stream


def sweep(
    folder: Folder,
    config: StudyConfig,
    hypers: dict[str, Hyper],
    stream: Stream,
    workers: Workers,
    display: Display,
    up: Up,
) -> bool:
    """Sweeps until the budget is spent or the user interrupts it; returns whether it was interrupted.

    The caller holds the folder's lock.
    """
    available = ray.cluster_resources()  # type: ignore[no-untyped-call]
    count, resources = worker_resources(workers, available)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    stream_ref = ray.put(pack_stream(stream))
    up.desk.open.remote(str(folder.checkpoints.absolute()), [stream_ref])
    driver = Driver(
        folder,
        config,
        hypers,
        open_study(folder.journal, config),
        example_counts(stream),
        count,
        chosen(config, hypers, stream, stream_ref, count, resources, up.interrupt),
    )
    searcher = PackSearcher(
        driver,
        up.desk,
        {
            "desk": up.desk_name,
            "namespace": NAMESPACE,
            "share_prefix": config.share_prefix,
            "prefixes_recur": recur(config.space, hypers, config.trials),
        },
        lambda: display.show(driver.book.summary()),
    )

    with tempfile.TemporaryDirectory(prefix="cfsweep-tune-") as scratch, display:
        display.show(driver.book.summary())
        if driver.finished:
            return False
        tuner = tune.Tuner(
            tune.with_resources(PackTrainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher, num_samples=-1, max_concurrent_trials=count, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name=config.study_id,
                storage_path=scratch,
                verbose=0,
                stop=StopOnInterrupt(driver, up.interrupt),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        finally:
            driver.commit()
        if driver.complete:
            ray.get(up.desk.clear_prefixes.remote())
        display.show(driver.book.summary())
    return up.interrupt.is_set()
