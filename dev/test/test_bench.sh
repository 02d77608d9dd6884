#!/usr/bin/env bash
# Tests of `make bench` (dev/bench): lines are held or missed where they should be, bad usage; in the long form every part
# runs with tiny shapes and its figures agree among each other, the rivals in PyTorch too.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
bench() { timeout -k 10 "$time_limit" python3 "$root/dev/bench/bench.py" --build "$root/${BUILD:-build}" --output "$work/out" "$@"; }

# holds PYTHON: a condition over bench.json, as `bench`, and rows(part), its results of a part
holds() {
  why="not true of bench.json: $1"
  python3 - "$1" <<'P'
import json, statistics, sys
bench = json.load(open("out/bench.json"))
def rows(part, **wanted):
    return [r for r in bench["results"] if r["part"] == part and all(r[k] == v for k, v in wanted.items())]
def value(part, **wanted):
    (row,) = rows(part, **wanted)
    return row["value"]
sys.exit(not eval(sys.argv[1]))
P
}

# fails TEXT ARGUMENTS: exit code 1 and one error line with the text
fails() {
  local expected=$1 code=0 output
  shift
  output=$(bench "$@" 2>&1 > log) || code=$?
  is "exit code of '$*'" $code 1 &&
    is "error lines of '$*' in '$output'" "$(grep -c '^error: ' <<< "$output")" 1 &&
    has "'$*'" "$output" "$expected"
}

# A program like llm.c's: looks for the files whose names that has built in, and says what it would take 256 ms for.
rival() {
  cat > rival.sh <<'R'
#!/usr/bin/env bash
magic() { od -An -t d4 -N 4 "$1" | tr -d ' '; }
[ "$(magic gpt2_124M.bin)" = 20240326 ] || exit 3
for split in train val; do [ "$(magic dev/data/tinyshakespeare/tiny_shakespeare_$split.bin)" = 20240520 ] || exit 3; done
for step in 0 1 2 3; do echo "step $step: train loss 5.0 (took $((step < 2 ? 900 : 256)).000000 ms)"; done
exec sleep 100
R
  chmod +x rival.sh
}

every_part() {
  rival
  bench --quick --python none --rival rival.sh --record --history history.csv > log 2>&1 ||
    { why="bench.py failed: $(tail -n 5 log)" && return 1; }
  has "output" "$(cat log)" "without PyTorch: not wanted" || return 1
  holds '{r["part"] for r in bench["results"]} == set("gemm copy d12 times llmc demo ranks collectives growth".split())' &&
    holds 'all(r["value"] > 0 and len(r["rounds"]) > 0 for r in bench["results"])' &&
    holds 'len(bench["results"]) == 68 and bench["quick"] and bench["cores"] >= 1 and bench["cpu"] and bench["commit"]'
}

# Tokens/s, FLOPs and peak give the share; it is what the trainer prints, as far as both took the same peak.
shares_agree() { # the trainer's milliseconds have one decimal, and these steps take few of them
  holds 'len(rows("d12", unit="% of peak")) == 2' &&
    holds 'all(abs(r["value"] / (value("d12", what=r["what"], unit="tok/s") * r["flops_per_token"] / r["peak_gflops"] / 1e7) - 1) < 0.01
      for r in rows("d12", unit="% of peak"))' &&
    holds 'all(r["value"] < 1.2 * r["as_train_gpt2_prints"] + 0.1 for r in rows("d12", unit="% of peak"))'
}

rival_is_timed() { # 256 tokens in 256 ms; the first two steps do not count
  holds 'value("llmc", who="llm.c") == 1000.0' &&
    holds 'sum("times" in l["found"] and "llm.c" in l["what"] for l in bench["lines"]) == 2'
}

bounds_are_right() {
  holds 'len(rows("collectives", who="zero.c")) == 2 and len(rows("collectives", who="Open MPI")) == 2' &&
    holds 'all(abs(r["value"] / r["bound_ms"] / r["times_bound"] - 1) < 1e-3 for r in rows("collectives", who="zero.c"))' &&
    # With 2 ranks a reduce-scatter moves three units, an all-gather two. No copy of this machine moves 2 TB a second.
    holds '[r["moved"] / 2**20 for r in rows("collectives", who="zero.c")] == [3, 2]' &&
    holds 'all(0 < r["moved"] / r["bound_ms"] < 2e9 for r in rows("collectives", who="zero.c"))'
}

missing_are_named() {
  holds '[l["number"] for l in bench["lines"] if l["holds"] is None] == ["2", "3", "3"]' &&
    holds 'bench["missing"] == ["PyTorch: not wanted"]'
}

history_has_all() {
  local count
  count=$(python3 -c 'import json; print(len(json.load(open("out/bench.json"))["results"]))')
  is "header" "$(head -n 1 history.csv)" "date,commit,cpu,cores,part,what,who,value,unit" &&
    is "rows" "$(python3 -c 'import csv; print(sum(len(r) == 9 for r in csv.reader(open("history.csv"))))')" $((count + 1))
}

picture_is_whole() {
  why=$(python3 -c 'import xml.etree.ElementTree as e
n = sum(x.tag.endswith("circle") for x in e.parse("out/roofline.svg").iter())
print(f"circles: {n}"); raise SystemExit(n < 5)' 2>&1)
}

bad_usage() {
  fails "invalid choice: 'bogus'" --only bogus && fails "argument --rounds: 0 found" --rounds 0 &&
    fails "--record with --quick" --quick --record &&
    fails "no Python that has PyTorch" --quick --only gemm --python /bin/false &&
    fails "nothing.sh: not a program" --quick --only llmc --python none --rival nothing.sh || return 1
  # Before anything is measured: none of these programs is there.
  mkdir -p taken/bench.json history.csv
  fails "--output: $PWD/taken/bench.json: Is a directory" --quick --python none --build nothing --output taken &&
    fails "--output: /dev/null/out/bench.json: Not a directory" --quick --python none --build nothing --output /dev/null/out &&
    fails "--history: $PWD/history.csv: Is a directory" --quick --python none --build nothing --record --history history.csv &&
    rmdir history.csv || return 1
  printf '#!/bin/sh\necho "step 0: (took 1 ms)"\n' > short.sh && chmod +x short.sh
  fails "1 lines" --quick --only llmc --python none --rival "$PWD/short.sh"
}

# A relative path is of the folder where bench.py was called; a link is not followed.
# shellcheck disable=SC2016 # $0 is the link's
relative_python() {
  mkdir -p venv/bin
  printf '#!/bin/sh\necho "$0" >> "%s/asked_python"\necho 2.0\n' "$work" > venv/python.sh
  chmod +x venv/python.sh && ln -sf ../python.sh venv/bin/python
  # It fails as there are no programs of that build, after PyTorch's version was asked for.
  bench --quick --only gemm --build nothing --python venv/bin/python > log 2>&1
  has "output" "$(cat log)" "PyTorch 2.0" && is "asked" "$(cat asked_python)" "$PWD/venv/bin/python"
}

# Figures just on either side of what is needed.
verdicts() {
  why=$(PYTHONPATH="$root/dev/bench" PYTHONDONTWRITEBYTECODE=1 python3 - 2>&1 <<'P'
import contextlib, io
from common import OURS, Results
from lines import lines

def check(number, expected, rows):
    results = Results()
    with contextlib.redirect_stdout(io.StringIO()):
        for part, what, who, unit, value, more in rows:
            results.add(part, what, who, unit, [value], **more)
    found = [l.holds for l in lines(results) if l.number == number and l.holds is not None]
    if found != expected:
        raise SystemExit(f"line {number}: {found}, expected {expected}, of {rows}")

def d12(dtype, share, ours, torch):
    what = f"d12, {dtype}, B 1 T 1024 x 4"
    return [("d12", what, OURS, "tok/s", ours, {}), ("d12", what, "PyTorch eager", "tok/s", torch, {}),
            ("d12", what, "PyTorch compiled", "tok/s", torch / 2, {}), ("d12", what, OURS, "% of peak", share, {})]

for dtype, needed in ("fp32", 85), ("bf16", 80):
    check("1", [False], d12(dtype, needed - 0.1, 100, 10))
    check("1", [True], d12(dtype, needed, 100, 10))
    check("2", [True], d12(dtype, 10, 150, 100))
    check("2", [False], d12(dtype, 10, 149, 100))
    # 1.5 times would be 87 % of the peak: line 1's share is enough, and less is not.
    check("2", [True], d12(dtype, needed, needed, 58))
    check("2", [False], d12(dtype, needed - 1, needed - 1, 58))

def llmc(dtype, ours):
    return [("llmc", f"d12, {dtype}, B 4 T 64 x 1", OURS, "tok/s", ours, {}),
            ("llmc", "d12, fp32, B 4 T 64 x 1", "llm.c", "tok/s", 100, {})]

check("2", [True], llmc("fp32", 330)), check("2", [False], llmc("fp32", 329))
check("2", [True], llmc("bf16", 550)), check("2", [False], llmc("bf16", 549))

def demo(fp32, bf16):
    return [("demo", "demo, fp32", f"{OURS}, 4 ranks", "tok/s", 1, {}), ("demo", "demo, fp32", f"{OURS}, 1 rank", "tok/s", fp32, {}),
            ("demo", "demo, fp32", "PyTorch eager", "tok/s", 100, {}), ("demo", "demo, fp32", "PyTorch compiled", "tok/s", 300, {}),
            ("demo", "demo, bf16", f"{OURS}, 1 rank", "tok/s", bf16, {}), ("demo", "demo, bf16", "PyTorch eager", "tok/s", 1, {})]

check("3", [True, False], demo(400, 399)), check("3", [False, True], demo(399, 400))

def ranks(stage, ours, rival, name):
    return [("ranks", "d12", f"{OURS}, 1 rank", "tok/s", 100, {}), ("ranks", "d12", name, "tok/s", rival, {}),
            ("ranks", "d12", f"{OURS}, 2 ranks, stage {stage}", "tok/s", ours, {})]

check("4", [True], ranks(0, 95, 94, "PyTorch DDP")), check("4", [False], ranks(0, 94.9, 50, "PyTorch DDP"))
check("4", [False], ranks(0, 98, 99, "PyTorch DDP"))
check("4", [True], ranks(3, 90, 50, "PyTorch DDP")), check("4", [False], ranks(3, 89, 50, "PyTorch DDP"))
check("4", [False], ranks(3, 95, 96, "PyTorch FSDP (parameters)"))

def exchange(ours, theirs, bound):
    return [row for mib, slower in ((1, 1.0), (4, 0.5)) for row in (
        ("collectives", f"gather, 2 ranks, {mib} MiB", OURS, "ms", ours * slower, {"times_bound": ours * slower / bound}),
        ("collectives", f"gather, 2 ranks, {mib} MiB", "Open MPI", "ms", theirs, {}))]

check("5", [True, True], exchange(1.5, 3.0, 1.0)), check("5", [False, False], exchange(1.51, 3.0, 1.0))

def growth(*above):
    return [("growth", "T 1", OURS, "us a token", 1, {"ratio": 3.0})] + [
        ("growth", f"T {i}", OURS, "MiB", 1, {"above": x}) for i, x in enumerate(above)]

check("6", [True, True], growth(-0.3, 0.05, 0.0)), check("6", [True, False], growth(-0.3, 0.06, 0.0))
print("ok")
P
  )
  [ "$why" = ok ]
}

# What is measured ends with its time limit and with bench.py, and whatever it started: in place of run.sh a program that
# starts another in a session of its own, as mpirun, with a rank in a process group of its own that does not heed SIGTERM.
hanging_programs() {
  cat > run.sh <<'R'
#!/usr/bin/env bash
setsid bash -c 'set -m; (trap "" TERM && exec sleep 100) & echo "$!" >> "$1/started"; wait' - "$(dirname "$0")" &
wait
R
  chmod +x run.sh
  local output
  output=$(PYTHONPATH="$root/dev/bench" PYTHONDONTWRITEBYTECODE=1 python3 - ${long:+"$long"} 2>&1 <<'P'
import os, signal, sys, threading, time
import programs
from bench import stop
from common import UserError

def started():
    try:
        return [int(line) for line in open("started")]
    except FileNotFoundError:
        return []

def runs(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False

def check(what, count):
    found = started()
    end = time.monotonic() + 10  # a killed process may need a moment where others are busy
    while any(map(runs, found)) and time.monotonic() < end:
        time.sleep(0.05)
    if len(found) != count or any(map(runs, found)):
        raise SystemExit(f"{what}: {count} programs expected, none running; found {found}, {list(map(runs, found))}")

def hang(limit, command):
    programs.TIME_LIMIT = limit
    try:
        programs.call_ranks(2, command)
        raise SystemExit("no error after the time limit")
    except UserError as problem:
        if f"did not end within {limit} s" not in str(problem):
            raise SystemExit(f"after the time limit: {problem}")

run, programs.RUN = programs.RUN, os.path.abspath("run.sh")
programs.END_LIMIT = 2
hang(2, ["true"])
check("after the time limit", 1)  # not once more

def terminate():
    while len(started()) < 2:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, stop)
programs.TIME_LIMIT = 100
threading.Thread(target=terminate, daemon=True).start()
try:
    programs.call_ranks(2, ["true"])
    raise SystemExit("no KeyboardInterrupt after SIGTERM")
except KeyboardInterrupt:
    pass
check("after SIGTERM", 2)

if sys.argv[1:]:
    programs.RUN = run
    hang(15, ["sh", "-c", f"echo $$ >> {os.path.abspath('started')}; exec sleep 100"])
    check("after mpirun's time limit", 4)

try:  # one failure alone may be mpirun's
    programs.RUN = "/bin/false"
    programs.call_ranks(2, ["true"])
    raise SystemExit("no error after exit code 1")
except UserError as problem:
    if "ended with exit code 1" not in str(problem):
        raise SystemExit(f"after exit code 1: {problem}")
print("ok")
P
  )
  is "last line" "$(tail -n 1 <<< "$output")" ok && is "repeats" "$(grep -c '^once more after' <<< "$output")" 1
}

late_answers() { # PyTorch's late answer is not taken for that to the next question
  cat > late.sh <<'R'
#!/usr/bin/env bash
while read -r _; do
  seconds=1
  [ -e slow ] && seconds=9 && sleep 1
  echo "{\"seconds\": [$seconds], \"parameters\": $PARAMETERS}"
done
R
  chmod +x late.sh && touch slow
  why=$(PYTHONPATH="$root/dev/bench" PYTHONDONTWRITEBYTECODE=1 python3 - 2>&1 <<'P'
import os
import rivals
from common import TINIER, UserError

os.environ["PARAMETERS"] = str(TINIER.parameters)
rivals.TIME_LIMIT = 0.5
with rivals.Torch(os.path.abspath("late.sh"), TINIER, 1) as torch:
    try:
        raise SystemExit(f"an answer in time: {torch.ask(steps=1)}")
    except UserError as problem:
        if "did not answer within 0.5 s" not in str(problem):
            raise SystemExit(problem)
    rivals.TIME_LIMIT = 60
    os.remove("slow")
    for _ in range(2):
        if (found := torch.ask(steps=1)) != [1]:
            raise SystemExit(f"seconds {found}, expected [1]")
print("ok")
P
  )
  [ "$why" = ok ]
}

rivals_in_pytorch() {
  [ -n "${ZERO_C_REFERENCE_PYTHON:-}" ] || [ -x "$root/.venv/bin/python" ] ||
    { why="no Python with PyTorch; give one by ZERO_C_REFERENCE_PYTHON" && return 77; }
  time_limit=600
  bench --quick --only d12 demo ranks > log 2>&1 || { why="bench.py failed: $(tail -n 5 log)" && return 1; }
  is "settings that do not work: $(grep '^without' log)" "$(grep -c '^without PyTorch' log)" 0 &&
    holds 'all(len(rows(p, who=w)) > 0 for p in ("d12", "demo") for w in ("PyTorch eager", "PyTorch compiled"))' &&
    holds 'len([r for r in rows("ranks") if r["who"].startswith("PyTorch")]) == 4'
}

test_case "bench: bad usage" bad_usage
test_case "bench: --python" relative_python
test_case "bench: lines hold and are missed" verdicts
test_case "bench: programs that hang are ended" hanging_programs
test_case "bench: late answers" late_answers
if [ "$long" = --long ]; then
  test_case "bench: every part runs" every_part
  test_case "bench: shares agree with the trainer's" shares_agree
  test_case "bench: an llm.c-style program is timed" rival_is_timed
  test_case "bench: bounds of the collectives" bounds_are_right
  test_case "bench: what is missing is named" missing_are_named
  test_case "bench: --record" history_has_all
  test_case "bench: the roofline" picture_is_whole
  test_case "bench: PyTorch" rivals_in_pytorch
fi
finish
