"""OpenL3's mel256 network: Keras, TensorFlow's compiled function, l3embed, and what the machine could do at most.

    python scripts/bench_openl3.py WEIGHTS.h5.gz FOLDER [--precisions f32 bf16 int8] [--windows 300]

Everything is measured in one run, since machines are noisy, and printed beside the ratio that matters. The limit is the
time that matrix products of the layers' shapes take through the same library: a convolution of 3 x 3 is one of
(height x width, 9 x channels in) with (9 x channels in, channels out), Winograd and the like aside; as many rows at a
time as stay in the cache, for the convolution never writes that matrix out. Peak memory and start-up are in
bench_extract.py. Needs the train extra; for int8 the model must have been quantised.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import l3embed
from l3embed import decode, engine, extract, frontend, plan, weights

BATCH = 16
CACHED = 2**20  # numbers
LAYERS = [(1, 1, 64), (1, 64, 64), (2, 64, 128), (2, 128, 128), (4, 128, 256), (4, 256, 256), (8, 256, 512),
          (8, 512, 512)]  # fmt: skip


def rate(step, n_windows: int, seconds: float = 4.0) -> float:
    """Windows per second of a function that computes `n_windows` of them."""
    step()
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step()
        n += n_windows
    return n / (time.perf_counter() - start)


def of_keras(card, sample: np.ndarray) -> tuple[float, float]:
    """(Keras `predict`, TensorFlow's compiled function)."""
    import tensorflow as tf

    network = weights.load_network(card)
    compiled = tf.function(network, jit_compile=False)
    many = np.repeat(sample, 2, axis=0)  # OpenL3's own batch of 32
    return rate(lambda: network.predict(many, batch_size=32, verbose=0), 32), rate(lambda: compiled(sample), BATCH)


def of_engine(model, sample: np.ndarray) -> float:
    chunks = [(0, sample)] * 4
    return rate(lambda: list(engine.run(model.engine, chunks)), BATCH * 4)


def of_limit(shape: tuple[int, int], precision: str) -> float:
    """Windows per second if the network were nothing but its matrix products."""
    import openvino
    from openvino import opset13 as ov

    seconds = 0.0
    for halvings, n_in, n_out in LAYERS:
        rows = (shape[0] // halvings) * (shape[1] // halvings)
        part, kind = min(rows, CACHED // (9 * n_in + n_out)), "bf16" if precision == "bf16" else "f32"
        x = ov.parameter([part, 9 * n_in], openvino.Type.f32 if kind == "f32" else openvino.Type.bf16)
        filters = ov.constant(np.full((9 * n_in, n_out), 0.01, np.float32))
        product = ov.convert(ov.matmul(ov.convert(x, "f32"), filters, False, False), kind)
        options = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "THROUGHPUT"}
        compiled = openvino.Core().compile_model(openvino.Model([product], [x]), "CPU", options)
        queue = openvino.AsyncInferQueue(compiled)
        data = openvino.Tensor(x.get_element_type(), openvino.Shape([part, 9 * n_in]))

        def step(queue=queue, data=data):
            for _ in range(32):
                queue.start_async({0: data}, share_inputs=True)
            queue.wait_all()

        seconds += rows / part / rate(step, 32, 1.0)
    return 1 / seconds


def of_extract(model, files: list[str], **how) -> tuple[float, int]:
    """Windows per second from files to files, and how many there were."""
    with tempfile.TemporaryDirectory() as folder:
        items = plan.plan(files).items
        start = time.perf_counter()
        results = list(extract.extract(model, items, Path(folder), jobs=os.cpu_count() or 1, **how))
        seconds = time.perf_counter() - start
    assert not any(result.error for result in results), results
    n = sum(result.n_windows for result in results)
    return n / seconds, n


def of_front_end(model, files: list[str]) -> float:
    """Milliseconds of one processor for a window's spectrogram."""
    fe = model.front_end
    with decode.open_recording(files[0], fe.rate_hz) as recording:
        signal = np.resize(np.concatenate(list(recording)), 3 * fe.window_samples)
    starts = np.arange(16) * (fe.rate_hz // 10)
    return 1000 / rate(lambda: frontend.spectrograms(signal, starts, fe), 16, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precisions", nargs="+", default=["f32", "auto"])
    parser.add_argument("--windows", type=int, default=300, help="about so many windows are extracted")
    arguments = parser.parse_args()
    name, how = "openl3-mel256-music-6144", {"weights": arguments.weights, "front_end": "kapre-0.1.4"}
    models = {p: l3embed.load(name, precision=p, **how) for p in arguments.precisions}
    some = next(iter(models.values()))
    files = sorted(item.source for item in plan.plan([str(arguments.folder)]).items)
    wanted, chosen = arguments.windows, []
    for file in files:
        with decode.open_recording(file, 48_000) as recording:
            wanted -= int(10 * (recording.expected_s or 0))
        chosen.append(file)
        if wanted <= 0:
            break
    sample = np.random.default_rng(0).uniform(-80, 0, (BATCH, *some.spec.front_end.shape)).astype(np.float32)
    predict, compiled = of_keras(some.card, sample)
    print(f"windows/s: Keras predict {predict:.1f}, TensorFlow's compiled function {compiled:.1f}")
    print(f"front end: {of_front_end(some, chosen):.2f} processor-ms a window")
    for model in models.values():
        report(model, sample, chosen, predict, compiled)


def report(model, sample: np.ndarray, files: list[str], predict: float, compiled: float) -> None:
    bare = of_engine(model, sample)
    end_to_end, n = of_extract(model, files)
    bare = (bare + of_engine(model, sample)) / 2  # before and after
    shared, n_shared = of_extract(model, files, windows="shared")
    line = f"{model.precision}: bare network {bare:.1f} windows/s ({bare / predict:.1f} x predict, "
    line += f"{bare / compiled:.1f} x compiled function"
    if model.precision != "int8":
        line += f", {bare / of_limit(sample.shape[1:3], model.precision):.0%} of the limit"
    print(f"{line})")
    print(f"    extract, {n} windows: {end_to_end:.1f} windows/s ({end_to_end / bare:.0%} of bare, "
          f"{end_to_end / predict:.1f} x predict)")  # fmt: skip
    print(f"    extract --windows shared, {n_shared} windows: {shared:.1f} windows/s "
          f"({shared / end_to_end:.1f} x exact)", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
