"""Where a training step's time goes, by torch's profiler: products, attention, optimizer, kernels, dispatch."""

from collections import defaultdict
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

PARTS = ("products", "attention", "optimizer", "other kernels", "dispatch")
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"}
# They compute nothing: views, allocation, and what calls others.
CALLING = {
    f"aten::{name}"
    for name in """
    as_strided chunk clone contiguous cross_entropy_loss detach detach_ empty empty_like empty_strided expand expand_as
    flatten item layer_norm lift_fresh linear matmul narrow permute reshape resize_ resolve_conj result_type rms_norm
    scaled_dot_product_attention select slice split split_with_sizes squeeze t to transpose unbind unsqueeze view
    _local_scalar_dense _reshape_alias _to_copy _unsafe_view
    """.split()
}


def part_of(event: FunctionEvent) -> str:
    """Of `PARTS`, by the event's name and what it was called by."""
    name = event.name
    above: Any = event
    while above is not None:
        if above.name.startswith("Optimizer."):
            return "optimizer"
        above = above.cpu_parent
    if name in PRODUCTS:
        return "products"
    if "attention_for_cpu" in name:
        return "attention"
    if name in CALLING or not (name.startswith("aten::") or "cpp_fused" in name):
        return "dispatch"
    return "other kernels"


def seconds_by_part(step: Callable[[], object], steps: int) -> dict[str, float]:
    """Seconds of one core a step, by part; the profiler's own cost, some microseconds an operation, is dispatch.

    The step should run in one thread: what threads wait for each other would count as what they wait in. The clock's
    time is scaled down to that of the core, should other programs have taken their share of it.
    """
    wall, cpu = perf_counter(), process_time()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            step()
        wall, cpu = perf_counter() - wall, process_time() - cpu
    events = [event for event in profiler.events() or [] if not event.is_async]
    found: dict[str, float] = defaultdict(float)
    for event in events:
        found[part_of(event)] += event.self_cpu_time_total / 1e6 / steps
    # What lies between two operations is Python's.
    start, end = min(event.time_range.start for event in events), max(event.time_range.end for event in events)
    found["dispatch"] += max(0.0, (end - start) / 1e6 / steps - sum(found.values()))
    return {part: found[part] * min(1.0, cpu / wall) for part in PARTS}
