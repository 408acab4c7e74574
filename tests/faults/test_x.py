from faults.injections import STEP


def test_x(host, trained, small_disk):
    import time

    r = host.run(
        "train",
        "--config",
        "run.toml",
        "--output",
        "k",
        "--set",
        "data.num_workers=1",
        folder=trained,
        fault=("kill_worker_at", STEP, 5),
    )
    print(r)
    r = host.run(
        "evaluate",
        "videos",
        "--model",
        "run",
        "--num-workers",
        1,
        folder=trained,
        fault=("kill_worker_at", "timesformer.evaluation.predictions:_classify", 1),
    )
    print(r)
    r = host.run(
        "train",
        "--config",
        "run.toml",
        "--output",
        "k",
        "--overwrite",
        folder=trained,
        fault=("no_memory_for", STEP, 1),
    )
    print(r)
    r = host.run(
        "predict",
        "videos",
        "--model",
        "run",
        folder=trained,
        fault=("no_memory_for", "timesformer.model.fast:FastTimeSformer.forward", 3),
    )
    print(r)
    big = ["--set", "model.image_size=224", "--set", "model.patch_size=8", "--set", "model.num_frames=4"]
    for mb in (400,):
        r = host.run(
            "train",
            "--config",
            "run.toml",
            "--output",
            "big",
            "--overwrite",
            *big,
            "--set",
            "batch_size=6",
            "--set",
            "epochs=1",
            folder=trained,
            fault=("limit_memory", mb),
        )
        print(r)
    r = host.run("train", "--config", "run.toml", "--output", "big", "--overwrite", *big, "--epochs", 1, folder=trained)
    print(r)
    for mb in (100, 200, 400):
        r = host.run(
            "predict", "videos", "--model", "big", "--batch-size", 16, folder=trained, fault=("limit_memory", mb)
        )
        print(r)
    for mb in (100, 200, 400):
        r = host.run(
            "evaluate",
            "videos",
            "--model",
            "big",
            "--batch-size",
            16,
            "--num-workers",
            0,
            folder=trained,
            fault=("limit_memory", mb),
        )
        print(r)
