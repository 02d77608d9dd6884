"""What the parts of the benchmark share: shapes, settings, and the list of results."""

import dataclasses
import os
import statistics
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
EXIT_STOPPED = 130  # a shell's code for a program that Ctrl-C ended
OURS = "zero.c"
TYPES = ("fp32", "bf16")


class UserError(Exception):
    """A problem that the user can mend; its text says how."""


class Missing(Exception):
    """A rival that is not there; its text says what it needs."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A GPT-2 of L layers, H heads, C channels, `longest` positions and V tokens."""

    name: str
    layers: int
    heads: int
    channels: int
    longest: int
    vocabulary: int

    @property
    def descriptor(self):
        """-e of train_gpt2"""
        return f"L={self.layers},H={self.heads},C={self.channels},T={self.longest},V={self.vocabulary}"

    @property
    def padded_vocabulary(self):
        return (self.vocabulary + 127) // 128 * 128

    @property
    def parameters(self):
        """As train_gpt2 counts them: padded rows of the vocabulary included, the head is wte."""
        c = self.channels
        block = 12 * c * c + 13 * c
        return (self.padded_vocabulary + self.longest) * c + self.layers * block + 2 * c

    def flops_per_token(self, length):
        """6N + 6 L C T: forward and backward, attention's causal half."""
        return 6.0 * self.parameters + 6.0 * self.layers * self.channels * length


GPT2_VOCABULARY = 50257
D6 = Model("d6", 6, 6, 384, 1024, GPT2_VOCABULARY)
D12 = Model("d12", 12, 12, 768, 1024, GPT2_VOCABULARY)
D24 = Model("d24", 24, 16, 1024, 1024, GPT2_VOCABULARY)
# d12 with room for growth in T.
D12_LONG = Model("d12 with 4096 positions", 12, 12, 768, 4096, GPT2_VOCABULARY)
DEMO = Model("demo", 4, 4, 128, 64, 72)
TINY = Model("tiny", 2, 2, 64, 128, 500)
TINIER = Model("tinier", 1, 2, 64, 128, 500)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much is run. What --quick runs is for tests of the benchmark: its figures say nothing."""

    rounds: int = 3
    steps: int = 1  # of a round that are timed, after one that is not
    gemm_seconds: float = 0.3  # for each shape
    gemm_shapes: tuple = ((1024, 1024, 1024), (2048, 2048, 2048), (1024, 768, 3072), (1024, 3072, 768))  # rows, k, n
    copy_mib: int = 128  # of each process
    copy_processes: tuple = (1, 2, 4)
    main: Model = D12
    main_shapes: tuple = ((4, 256), (1, 1024))  # B, T
    main_accumulation: int = 4
    times_shape: tuple = (1, 1024)
    times_steps: int = 1
    llmc_shape: tuple = (4, 64)
    llmc_steps: int = 4
    demo: Model = DEMO
    demo_batch: int = 12
    demo_length: int = 64
    demo_steps: int = 200
    ranks_shape: tuple = (1, 1024)
    ranks_steps: int = 1
    ranks_types: tuple = TYPES
    collective_rounds: int = 9
    collective_mib: tuple = (1, 4, 16, 64, 256)
    collective_ranks: tuple = (2, 4)
    long: Model = D12_LONG
    lengths: tuple = (256, 512, 1024, 2048, 4096)
    tokens_of_step: int = 4096  # of the growth with T and with depth
    depths: tuple = (D6, D12, D24)
    depth_length: int = 1024
    growth_ranks: tuple = (1, 2, 4, 8)
    growth_ranks_model: Model = D6
    growth_ranks_shape: tuple = (1, 256)


FULL = Settings()
QUICK = Settings(
    rounds=1,
    gemm_seconds=0.01,
    gemm_shapes=((256, 256, 256),),
    copy_mib=4,
    copy_processes=(1, 2),
    main=TINY,
    main_shapes=((2, 32),),
    main_accumulation=2,
    times_shape=(2, 32),
    llmc_steps=1,
    demo_steps=4,
    ranks_shape=(1, 64),
    ranks_types=("fp32",),
    collective_rounds=1,
    collective_mib=(1,),
    collective_ranks=(2,),
    long=TINY,
    lengths=(32, 64, 128),
    tokens_of_step=128,
    depths=(TINIER, TINY),
    depth_length=64,
    growth_ranks=(1, 2),
    growth_ranks_model=TINIER,
    growth_ranks_shape=(1, 64),
)


@dataclasses.dataclass
class Result:
    """One figure: the median of `rounds`."""

    part: str
    what: str  # shape and circumstances, the same for all who are compared
    who: str  # OURS or a rival
    unit: str
    rounds: list
    more: dict = dataclasses.field(default_factory=dict)

    @property
    def value(self):
        return statistics.median(self.rounds)


class Results:
    """All figures of a run, printed as they come."""

    def __init__(self):
        self.all = []

    def add(self, part, what, who, unit, rounds, **more):
        if not rounds:
            raise UserError(f"{part}: {what}, {who}: nothing was measured")
        result = Result(part, what, who, unit, [float(x) for x in rounds], more)
        self.all.append(result)
        extra = "".join(
            f"   {name} {text(value)}" for name, value in more.items() if isinstance(value, (int, float, str))
        )
        print(f"{part:<12} {what:<44} {who:<28} {text(result.value):>12} {unit}{extra}", flush=True)
        return result

    def find(self, part, what=None, who=None, unit=None):
        """Those that agree in all that is given."""
        return [
            r
            for r in self.all
            if r.part == part and what in (None, r.what) and who in (None, r.who) and unit in (None, r.unit)
        ]


def text(value):
    """A number with four figures or so."""
    if isinstance(value, str):
        return value
    if value != 0 and abs(value) < 0.01:
        return f"{value:.2e}"
    return f"{value:.0f}" if abs(value) >= 10000 else f"{value:.4g}"


def note(line):
    print(line, flush=True)


def run(main):
    """Calls main and returns the exit code: 0, or 1 with one `error: ` line."""
    try:
        main()
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_STOPPED
    return 0
