"""The roofline as SVG: work per byte against speed, under the bandwidth of memory and the peaks of the GEMM."""

import math

from common import OURS

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 520, 70, 250, 40, 60
COLOURS = {"fp32": "#1f6fb4", "bf16": "#c8501e"}
LOWEST_INTENSITY, HIGHEST_INTENSITY = 0.1, 10000.0  # FLOP per byte
ADAMW_BYTES = 28.0


def bytes_of_step(model, dtype, rows, micro_steps):
    """What a step moves at least: in every micro-step the weights twice, the gradients read and written, the
    activations of a block (about 16 values a channel and layer) written and read; then AdamW."""
    element = 2 if dtype == "bf16" else 4
    weights = model.parameters * element * 4.0
    activations = 2.0 * element * rows * model.channels * (16 * model.layers + 8)
    return micro_steps * (weights + activations) + ADAMW_BYTES * model.parameters


def points(results, settings):
    """(name, type, FLOP per byte, GFLOP/s, ours?) of the workloads that have a share of the peak."""
    shapes = [("d12", settings.main_shapes, settings.main_accumulation), ("llmc", (settings.llmc_shape,), 1)]
    for part, of_part, accumulation in shapes:
        for batch, length in of_part:
            for dtype in COLOURS:
                what = f"{settings.main.name}, {dtype}, B {batch} T {length} x {accumulation}"
                flops = settings.main.flops_per_token(length)
                moved = bytes_of_step(settings.main, dtype, batch * length, accumulation)
                intensity = flops * batch * length * accumulation / moved
                for r in results.find(part, what, unit="tok/s"):
                    yield f"{r.who}: {what}", dtype, intensity, flops * r.value * 1e-9, r.who == OURS


def draw(results, settings, threads, path):
    """Writes the picture; returns whether there was something to draw."""
    gemm = {d: results.find("gemm") for d in COLOURS}
    peaks = {
        d: max((r.value for r in gemm[d] if r.what.startswith(f"{d}, {threads} threads")), default=None) for d in COLOURS
    }
    for r in results.all:  # a part that ran alone has its own peak
        if "peak_gflops" in r.more:
            dtype = "bf16" if "bf16" in r.what else "fp32"
            peaks[dtype] = max(peaks[dtype] or 0.0, r.more["peak_gflops"])
    copies = results.find("copy", f"{threads} threads")
    dots = list(points(results, settings))
    if not copies or not any(peaks.values()):
        return False
    bandwidth = copies[0].value
    top = 2.0 * max([p for p in peaks.values() if p] + [y for *_, y, _ in dots])
    bottom = min([bandwidth * LOWEST_INTENSITY] + [y for *_, y, _ in dots]) / 2.0

    def x(intensity):
        span = math.log10(HIGHEST_INTENSITY / LOWEST_INTENSITY)
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log10(intensity / LOWEST_INTENSITY) / span

    def y(speed):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log10(speed / bottom) / math.log10(top / bottom)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14">Roofline, {threads} threads: {bandwidth:.1f} GB/s copied</text>',
    ]
    for power in range(math.ceil(math.log10(LOWEST_INTENSITY)), math.floor(math.log10(HIGHEST_INTENSITY)) + 1):
        at = x(10.0**power)
        out.append(f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{10.0**power:g}</text>')
    for power in range(math.ceil(math.log10(bottom)), math.floor(math.log10(top)) + 1):
        at = y(10.0**power)
        out.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 20}" text-anchor="middle">FLOP per byte of memory</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">GFLOP/s</text>')
    for dtype, peak in peaks.items():
        if not peak:
            continue
        ridge = min(max(peak / bandwidth, LOWEST_INTENSITY), HIGHEST_INTENSITY)
        roof = f"{x(LOWEST_INTENSITY):.1f},{y(bandwidth * LOWEST_INTENSITY):.1f} {x(ridge):.1f},{y(peak):.1f} {x(HIGHEST_INTENSITY):.1f},{y(peak):.1f}"
        out.append(f'<polyline points="{roof}" fill="none" stroke="{COLOURS[dtype]}" stroke-width="2"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 6}" y="{y(peak) + 4:.1f}" fill="{COLOURS[dtype]}">{dtype} GEMM {peak:.0f} GFLOP/s</text>')
    row = TOP + 70
    for number, (name, dtype, intensity, speed, ours) in enumerate(dots, 1):
        fill = COLOURS[dtype] if ours else "white"
        out.append(f'<circle cx="{x(intensity):.1f}" cy="{y(speed):.1f}" r="4" fill="{fill}" stroke="{COLOURS[dtype]}"><title>{name}</title></circle>')
        out.append(f'<text x="{x(intensity) + 6:.1f}" y="{y(speed) + 4:.1f}" font-size="9">{number}</text>')
        out.append(f'<text x="{WIDTH - RIGHT + 6}" y="{row}" font-size="9">{number} {name}</text>')
        row += 13
    out.append("</svg>")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")
    return True
