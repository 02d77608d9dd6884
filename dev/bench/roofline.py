"""The roofline as SVG: work per byte against speed, under the bandwidth of memory and the peaks of the GEMM."""

import math
from xml.sax.saxutils import escape

from common import OURS

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 520, 70, 250, 40, 60
LEGEND_TOP, LEGEND_ROW = 110, 13
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


class Plot:
    """Lines of SVG, on two logarithmic axes."""

    def __init__(self, bottom, top):
        self.bottom, self.top = bottom, top  # GFLOP/s
        self.out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            'font-family="sans-serif" font-size="11">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        ]

    def x(self, intensity):
        span = math.log10(HIGHEST_INTENSITY / LOWEST_INTENSITY)
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log10(intensity / LOWEST_INTENSITY) / span

    def y(self, speed):
        span = math.log10(self.top / self.bottom)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log10(speed / self.bottom) / span

    def text(self, x, y, words, more=""):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>')

    def line(self, corners, colour, width=1):
        listed = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self.out.append(f'<polyline points="{listed}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def dot(self, x, y, fill, colour, title):
        self.out.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}">'
            f"<title>{escape(title)}</title></circle>"
        )

    def axes(self):
        right, low = WIDTH - RIGHT, HEIGHT - BOTTOM
        for power in powers(LOWEST_INTENSITY, HIGHEST_INTENSITY):
            at = self.x(power)
            self.line([(at, TOP), (at, low)], "#ddd")
            self.text(at, low + 16, f"{power:g}", 'text-anchor="middle"')
        for power in powers(self.bottom, self.top):
            at = self.y(power)
            self.line([(LEFT, at), (right, at)], "#ddd")
            self.text(LEFT - 6, at + 4, f"{power:g}", 'text-anchor="end"')
        self.text((LEFT + right) / 2, HEIGHT - 20, "FLOP per byte of memory", 'text-anchor="middle"')
        middle = (TOP + low) / 2
        self.text(18, middle, "GFLOP/s", f'text-anchor="middle" transform="rotate(-90 18 {middle})"')

    def roof(self, dtype, peak, bandwidth):
        ridge = min(max(peak / bandwidth, LOWEST_INTENSITY), HIGHEST_INTENSITY)
        corners = [(LOWEST_INTENSITY, bandwidth * LOWEST_INTENSITY), (ridge, peak), (HIGHEST_INTENSITY, peak)]
        self.line([(self.x(a), self.y(b)) for a, b in corners], COLOURS[dtype], 2)
        self.text(WIDTH - RIGHT + 6, self.y(peak) + 4, f"{dtype} GEMM {peak:.0f} GFLOP/s", f'fill="{COLOURS[dtype]}"')


def powers(low, high):
    """Those of ten from low to high."""
    return [10.0**p for p in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]


def highest_peaks(results, threads):
    """GFLOP/s by type, of all that were measured."""
    peaks = {}
    for dtype in COLOURS:
        found = [r.value for r in results.find("gemm") if r.what.startswith(f"{dtype}, {threads} threads")]
        found += [r.more["peak_gflops"] for r in results.all if "peak_gflops" in r.more and f" {dtype}," in r.what]
        if found:
            peaks[dtype] = max(found)
    return peaks


def draw(results, settings, threads, path):
    """Writes the picture; returns whether there was something to draw."""
    peaks, copies = highest_peaks(results, threads), results.find("copy", f"{threads} threads")
    if not copies or not peaks:
        return False
    bandwidth, dots = copies[0].value, list(points(results, settings))
    speeds = [speed for *_, speed, _ in dots] + list(peaks.values()) + [bandwidth * LOWEST_INTENSITY]
    plot = Plot(min(speeds) / 2.0, max(speeds) * 2.0)
    plot.text(LEFT, 22, f"Roofline, {threads} threads: {bandwidth:.1f} GB/s copied", 'font-size="14"')
    plot.axes()
    for dtype, peak in peaks.items():
        plot.roof(dtype, peak, bandwidth)
    for number, (name, dtype, intensity, speed, ours) in enumerate(dots, 1):
        x, y = plot.x(intensity), plot.y(speed)
        plot.dot(x, y, COLOURS[dtype] if ours else "white", COLOURS[dtype], name)
        plot.text(x + 6, y + 4, str(number), 'font-size="9"')
        plot.text(WIDTH - RIGHT + 6, LEGEND_TOP + LEGEND_ROW * number, f"{number} {name}", 'font-size="9"')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join([*plot.out, "</svg>"]) + "\n")
    return True
