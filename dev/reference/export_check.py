"""What check_export.py and check_bert_export.py share: what a folder must be like, and the loss that it must give."""

import sys

TOLERANCE = 1e-5


def loading_problems(model, info):
    """Of a folder that from_pretrained(..., output_loading_info=True) has loaded: not whole, or of several types."""
    problems = [f"{key}: {value}" for key, value in info.items() if value]
    dtypes = {p.dtype for p in model.parameters()}
    if len(dtypes) != 1:
        problems.append(f"types {dtypes}")
    return problems


def types_of(model):
    """For people: "float32"."""
    return ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in {p.dtype for p in model.parameters()}))


def loss_problems(folder, description, loss, expected):
    """Prints the folder's line, too."""
    difference = abs(loss - expected)
    print(f"{folder}: {description}, loss {loss:.6f} here, {expected:.6f} there, difference {difference:.1e}")
    return [] if difference <= TOLERANCE else [f"the loss differs by more than {TOLERANCE}"]  # NaN differs


def check_all(arguments, check):
    """check(folder, loss), which returns problems, for all FOLDER=LOSS. Returns the exit code."""
    failed = False
    for argument in arguments:
        folder, _, loss = argument.rpartition("=")
        for problem in check(folder, float(loss)):
            print(f"error: {folder}: {problem}", file=sys.stderr)
            failed = True
    return 1 if failed else 0
