"""What is measured, part by part. Who is compared takes turns, round by round; a result is the median of the rounds."""

import os
import statistics

from common import OURS, TYPES, Missing, UserError, note
from programs import call, call_ranks, trainer, write_tokens
from rivals import METHOD_NAMES, METHODS, Llmc, Torch, TorchSettings

ADAMW_BYTES = 28.0  # of a parameter: gradient, weight and two moments read, all but the gradient written


class Bench:
    """A run: settings, results, and what several parts need."""

    def __init__(self, settings, results, build, threads, python, rival):
        self.settings, self.results, self.build, self.threads = settings, results, build, threads
        self.python, self.rival = python, rival  # python: (path, version) or None
        self.missing = []  # rivals, in words

    def program(self, name):
        path = os.path.join(self.build, name)
        if not os.path.exists(path):
            raise UserError(f"{path} not found; build it by `make bench`")
        return path

    def tokens(self, model):
        """A file of tokens for this model, made once."""
        path = os.path.join(self.build, "bench", f"tokens_{model.vocabulary}.bin")
        if not os.path.exists(path):
            write_tokens(path, model.vocabulary, 1 << 19)
        return path

    # ---- the ceilings

    def gemm(self, dtype, threads):
        """GFLOP/s of each shape."""
        shapes = [str(x) for shape in self.settings.gemm_shapes for x in shape]
        output = call([self.program("bench_gemm"), dtype, str(threads), str(self.settings.gemm_seconds), *shapes])
        found = [float(line.split()[-1]) for line in output.splitlines() if line.startswith("gemm ")]
        if len(found) != len(self.settings.gemm_shapes):
            raise UserError(f"bench_gemm printed {len(found)} figures, not {len(self.settings.gemm_shapes)}: {output}")
        return found

    def copy(self, processes, threads=1):
        """GB/s, read and written, of so many processes."""
        arguments = [str(self.settings.collective_rounds), str(self.settings.copy_mib), str(threads)]
        command = [self.program("bench_collectives"), *arguments]
        output = call_ranks(processes, command)
        found = [float(line.split()[-1]) for line in output.splitlines() if line.startswith("copy ")]
        if len(found) != 1:
            raise UserError(f"bench_collectives printed no bandwidth: {output}")
        return found[0]

    def bandwidth(self):
        """GB/s of all cores, measured if no part did before."""
        what = f"{self.threads} threads"
        known = self.results.find("copy", what)
        return (
            known[0].value
            if known
            else self.results.add("copy", what, OURS, "GB/s", [self.copy(1, self.threads)]).value
        )

    # ---- our trainer

    def train(self, model, batch, length, micro_steps, dtype, steps, ranks=1, threads=None, flags=()):
        """A run of `steps` timed steps; micro_steps: of all ranks together."""
        return trainer(
            ["-e", model.descriptor, "-i", self.tokens(model), "-b", batch, "-t", length]
            + ["-d", batch * length * micro_steps, "--dtype", dtype, "-x", steps + 1, *flags],
            ranks,
            threads or self.threads,
        )

    def torch(self, model, threads, processes=1):
        """PyTorch, or None where it is missing."""
        if self.python is None:
            return None
        return Torch(self.python[0], model, threads, processes)


def check_parameters(run, model):
    if run.parameters != model.parameters:
        raise UserError(
            f"{model.name}: train_gpt2 counts {run.parameters} parameters, the benchmark {model.parameters}"
        )


# ---------------------------------------------------------------- ceilings


def gemm(bench):
    """GEMM peak by type and threads"""
    for dtype in TYPES:
        for threads in sorted({1, bench.threads}):
            rounds = [bench.gemm(dtype, threads) for _ in range(bench.settings.rounds)]
            for i, shape in enumerate(bench.settings.gemm_shapes):
                bench.results.add(
                    "gemm",
                    f"{dtype}, {threads} threads, " + " x ".join(map(str, shape)),
                    OURS,
                    "GFLOP/s",
                    [r[i] for r in rounds],
                )


def copy(bench):
    """bandwidth of memory"""
    for threads in sorted({1, bench.threads}):
        rounds = [bench.copy(1, threads) for _ in range(bench.settings.rounds)]
        bench.results.add("copy", f"{threads} threads", OURS, "GB/s", rounds)
    for processes in bench.settings.copy_processes:
        rounds = [bench.copy(processes) for _ in range(bench.settings.rounds)]
        bench.results.add("copy", f"{processes} processes", OURS, "GB/s", rounds)


# ---------------------------------------------------------------- against the peak, and PyTorch


def torch_settings(torch):
    names = {"PyTorch eager": {"compiled": False}, "PyTorch compiled": {"compiled": True}}
    return TorchSettings(torch, names if torch else {})


def workload(bench, part, model, shapes, types, accumulation, steps, extra=None):
    """Our tokens/s and share of the peak at each shape and type, PyTorch's in turns with it.

    extra: (name, measure) of one more rival; measure(steps) gives the seconds of steps.
    """
    torch = bench.torch(model, bench.threads)
    try:
        settings = torch_settings(torch)
        for batch, length in shapes:
            rate, share, peaks, by_run = {}, {}, {}, {}
            for _ in range(bench.settings.rounds):
                for dtype in types:
                    tokens = batch * length * accumulation
                    flops = model.flops_per_token(length)
                    ours = []
                    # Ours before each of PyTorch's settings: the machine is not the same for the minutes of a round.
                    for name in list(settings.names) or [None]:
                        before = max(bench.gemm(dtype, bench.threads))
                        run = bench.train(model, batch, length, accumulation, dtype, steps)
                        check_parameters(run, model)
                        after = max(bench.gemm(dtype, bench.threads))
                        peak = (max(before, run.peak) + after) / 2.0
                        ours.append(tokens / statistics.median(run.seconds()))
                        peaks.setdefault(dtype, []).append(peak)
                        share.setdefault(dtype, []).append(100.0 * flops * ours[-1] / (1e9 * peak))
                        by_run.setdefault(dtype, []).append(100.0 * statistics.median(run.shares[1:]))
                        found = name and settings.measure(
                            name, batch=batch, length=length, accumulation=accumulation, dtype=dtype, steps=steps
                        )
                        if found:
                            rate.setdefault((dtype, name), []).append(tokens / statistics.median(found))
                    rate.setdefault((dtype, OURS), []).append(statistics.fmean(ours))
                if extra:
                    rate.setdefault(("fp32", extra[0]), []).append(batch * length / statistics.median(extra[1](steps)))
            for dtype in types:
                what = f"{model.name}, {dtype}, B {batch} T {length} x {accumulation}"
                for (its_dtype, who), rounds in rate.items():
                    if its_dtype == dtype:
                        bench.results.add(part, what, who, "tok/s", rounds)
                bench.results.add(
                    part,
                    what,
                    OURS,
                    "% of peak",
                    share[dtype],
                    peak_gflops=statistics.median(peaks[dtype]),
                    as_train_gpt2_prints=statistics.median(by_run[dtype]),
                    flops_per_token=model.flops_per_token(length),
                )
    finally:
        if torch:
            torch.close()


def d12(bench):
    """GPT-2 124M against the GEMM peak and PyTorch"""
    s = bench.settings
    workload(bench, "d12", s.main, s.main_shapes, TYPES, s.main_accumulation, s.steps)


def times(bench):
    """where the time of a step goes"""
    s = bench.settings
    batch, length = s.times_shape
    program = bench.program("bench_times")
    for dtype in TYPES:
        flags = ["-e", s.main.descriptor, "-i", bench.tokens(s.main), "-b", batch, "-t", length]
        flags += ["-d", batch * length * s.main_accumulation, "--dtype", dtype, "-x", s.times_steps + 1]
        command = [program, "--threads", bench.threads, "-v", "0", "-s", "0", *flags]
        found = {}
        for _ in range(s.rounds):
            output = call([str(word) for word in command])
            for line in output.splitlines():
                if line.startswith("part "):
                    _, name, _, ms = line.split()
                    found.setdefault(name, []).append(float(ms))
        step = found.pop("step", None)
        if step is None or not found:
            raise UserError(f"bench_times printed no parts of a step: {output[-500:]}")
        found["other"] = [whole - sum(values) for whole, *values in zip(step, *found.values())]
        what = f"{s.main.name}, {dtype}, B {batch} T {length} x {s.main_accumulation}"
        bench.results.add("times", f"{what}: step", OURS, "ms", step)
        for name, values in sorted(found.items(), key=lambda item: -statistics.median(item[1])):
            share = 100.0 * statistics.median(values) / statistics.median(step)
            bench.results.add("times", f"{what}: {name}", OURS, "ms", values, percent_of_step=share)


def llmc(bench):
    """llm.c's own workload: B 4, T 64, AdamW every step"""
    s = bench.settings
    extra = None
    try:
        rival = Llmc(bench.rival, os.path.join(bench.build, "bench", "llmc"), s.main)
        extra = ("llm.c", lambda steps: rival.seconds(steps, bench.threads))
    except Missing as why:
        note(f"without {why}")
        bench.missing.append(str(why))
    workload(bench, "llmc", s.main, [s.llmc_shape], TYPES, 1, s.llmc_steps, extra)


def demo(bench):
    """nanoGPT's recipe for a CPU: 4 layers, 128 channels, 12 sequences of 64"""
    s = bench.settings
    tokens = s.demo_batch * s.demo_length
    # As `make demo` runs it, and on one rank with all threads. Lines of half the steps: the first one is not timed.
    ways = {
        f"{OURS}, 4 ranks": {"ranks": 4, "threads": 1, "batch": s.demo_batch // 4, "flags": ["-z", 2]},
        f"{OURS}, 1 rank": {"ranks": 1, "threads": bench.threads, "batch": s.demo_batch, "flags": []},
    }
    torch = bench.torch(s.demo, bench.threads)
    settings = torch_settings(torch)
    rate, peaks = {}, {}
    try:
        for _ in range(bench.settings.rounds):
            for dtype in TYPES:
                peaks.setdefault(dtype, []).append(max(bench.gemm(dtype, bench.threads)))
                for who, way in ways.items():
                    run = bench.train(
                        s.demo,
                        way["batch"],
                        s.demo_length,
                        s.demo_batch // way["batch"],
                        dtype,
                        s.demo_steps,
                        way["ranks"],
                        way["threads"],
                        [*way["flags"], "--log-every", max(s.demo_steps // 4, 1)],
                    )
                    rate.setdefault((dtype, who), []).append(tokens / statistics.median(run.seconds()))
                for name in list(settings.names):
                    found = settings.measure(
                        name, batch=s.demo_batch, length=s.demo_length, accumulation=1, dtype=dtype, steps=s.demo_steps
                    )
                    if found:
                        rate.setdefault((dtype, name), []).append(tokens / statistics.median(found))
    finally:
        if torch:
            torch.close()
    flops = s.demo.flops_per_token(s.demo_length)
    for (dtype, who), rounds in rate.items():
        share = 100.0 * flops * statistics.median(rounds) / (1e9 * statistics.median(peaks[dtype]))
        what = f"{s.demo.name}, {dtype}, {s.demo_batch} sequences of {s.demo_length}"
        bench.results.add("demo", what, who, "tok/s", rounds, percent_of_peak=share)


# ---------------------------------------------------------------- ranks


def ranks(bench):
    """two ranks of one thread against one rank of two, by stage, and PyTorch on 2 processes"""
    s = bench.settings
    batch, length = s.ranks_shape
    micro_steps = s.main_accumulation
    tokens = batch * length * micro_steps
    torch = bench.torch(s.main, 1, processes=2)
    methods = {METHOD_NAMES[m]: {"method": m} for m in METHODS.values()}
    settings = TorchSettings(torch, methods if torch else {})
    rate = {}
    try:
        for _ in range(s.rounds):
            for dtype in s.ranks_types:

                def keep(who, seconds, dtype=dtype):
                    rate.setdefault((dtype, who), []).append(tokens / statistics.median(seconds))

                keep(
                    f"{OURS}, 1 rank",
                    bench.train(s.main, batch, length, micro_steps, dtype, s.ranks_steps, 1, 2).seconds(),
                )
                for stage in METHODS:
                    run = bench.train(s.main, batch, length, micro_steps, dtype, s.ranks_steps, 2, 1, ["-z", stage])
                    keep(f"{OURS}, 2 ranks, stage {stage}", run.seconds())
                for name in list(settings.names):
                    found = settings.measure(
                        name,
                        batch=batch,
                        length=length,
                        accumulation=micro_steps // 2,
                        dtype=dtype,
                        steps=s.ranks_steps,
                        compiled=False,
                    )
                    if found:
                        keep(name, found)
    finally:
        if torch:
            torch.close()
    for (dtype, who), rounds in rate.items():
        bench.results.add(
            "ranks", f"{s.main.name}, {dtype}, B {batch} T {length} x {micro_steps}", who, "tok/s", rounds
        )


def collectives(bench):
    """reduce-scatter and all-gather in shared memory against Open MPI's"""
    s = bench.settings
    for count in s.collective_ranks:
        sizes = [str(mib) for mib in s.collective_mib]
        arguments = [str(s.collective_rounds), str(s.copy_mib), "1", *sizes]
        output = call_ranks(count, [bench.program("bench_collectives"), *arguments], {"ZERO_COMM": "shm"})
        lines = [line.split() for line in output.splitlines()]
        found = [words for words in lines if words[:1] in (["reduce_scatter"], ["gather"])]
        if len(found) != 2 * len(sizes):
            raise UserError(
                f"bench_collectives printed {len(found)} figures where {2 * len(sizes)} were expected: {output}"
            )
        for kind, _, mib, ours, theirs, copied in found:
            unit = float(mib) * 2**20
            # Reduce-scatter: every rank's unit is read, one unit written. All-gather in place: what peers own is read
            # and written on every rank.
            moved = (count + 1) * unit if kind == "reduce_scatter" else 2 * (count - 1) * unit
            what = f"{kind}, {count} ranks, {mib} MiB"
            times = float(copied) * 1e6 / moved
            bound = float(ours) / times
            bench.results.add("collectives", what, OURS, "ms", [ours], moved=moved, bound_ms=bound, times_bound=times)
            bench.results.add("collectives", what, "Open MPI", "ms", [theirs])


# ---------------------------------------------------------------- growth


def growth(bench):
    """time per token against T, depth and ranks, with the model's prediction; activations against T"""
    grow_with_length(bench)
    grow_with_depth(bench)
    grow_with_ranks(bench)
    activations(bench)


def grow(bench, what, cases):
    """cases: (name, microseconds per token as measured, FLOPs per token, bytes per token). The model: FLOPs at the
    speed of the first case, and bytes at the bandwidth of memory."""
    bandwidth = bench.bandwidth() * 1e9
    flops_per_second = None
    for name, measured, flops, moved in cases:
        of_memory = 1e6 * moved / bandwidth
        if flops_per_second is None:
            flops_per_second = flops / max(measured - of_memory, 0.1 * measured) * 1e6
        predicted = 1e6 * flops / flops_per_second + of_memory
        bench.results.add(
            "growth", f"{what}, {name}", OURS, "us a token", [measured], predicted=predicted, ratio=measured / predicted
        )


def grow_with_length(bench):
    s = bench.settings
    cases = []
    for length in s.lengths:
        run = bench.train(s.long, s.tokens_of_step // length, length, 1, "fp32", 1)
        check_parameters(run, s.long)
        microseconds = 1e6 * statistics.median(run.seconds()) / s.tokens_of_step
        moved = ADAMW_BYTES * s.long.parameters / s.tokens_of_step
        cases.append((f"T {length}", microseconds, s.long.flops_per_token(length), moved))
    grow(bench, f"{s.long.name}, fp32", cases)


def grow_with_depth(bench):
    s = bench.settings
    cases = []
    micro_steps = s.tokens_of_step // s.depth_length
    for model in s.depths:
        run = bench.train(model, 1, s.depth_length, micro_steps, "fp32", 1)
        check_parameters(run, model)
        microseconds = 1e6 * statistics.median(run.seconds()) / s.tokens_of_step
        moved = ADAMW_BYTES * model.parameters / s.tokens_of_step
        cases.append((model.name, microseconds, model.flops_per_token(s.depth_length), moved))
    grow(bench, f"depth, fp32, T {s.depth_length}", cases)


def grow_with_ranks(bench):
    s = bench.settings
    model, (batch, length) = s.growth_ranks_model, s.growth_ranks_shape
    micro_steps = max(s.growth_ranks)
    tokens = batch * length * micro_steps
    cases = []
    for count in s.growth_ranks:
        threads = max(bench.threads // count, 1)
        run = bench.train(model, batch, length, micro_steps, "fp32", s.steps, count, threads, ["-z", 2])
        check_parameters(run, model)
        unit = 4.0 * model.parameters  # bytes
        # A micro-step of every rank: its gradients are read by their owners and added; then the parameters' gather.
        reduces = micro_steps / count * (count + 1) * unit if count > 1 else 0.0
        moved = (reduces + 2 * (count - 1) * unit + ADAMW_BYTES * model.parameters) / tokens
        microseconds = 1e6 * statistics.median(run.seconds()) / tokens
        cases.append((f"{count} ranks", microseconds, model.flops_per_token(length), moved))
    grow(bench, f"{model.name}, fp32, stage 2", cases)


def activations(bench):
    s = bench.settings
    found = []
    for length in s.lengths:
        run = bench.train(s.long, 1, length, 1, "fp32", -1)  # no step: the table alone
        found.append(run.memory["activations"])
    # The line through the two longest. Short ones may lie below: the head's block of rows is smaller there.
    (before, last), (mib_before, mib_last) = s.lengths[-2:], found[-2:]
    slope = (mib_last - mib_before) / (last - before)
    for length, mib in zip(s.lengths, found, strict=True):
        line = mib_last - slope * (last - length)
        what = f"{s.long.name}, fp32, activations at T {length}"
        bench.results.add("growth", what, OURS, "MiB", [mib], predicted=line, above=(mib - line) / mib)


PARTS = {part.__name__: part for part in (gemm, copy, d12, times, llmc, demo, ranks, collectives, growth)}
