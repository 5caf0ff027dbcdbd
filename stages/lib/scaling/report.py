"""What the sweeps say, as markdown."""

from collections.abc import Sequence

from stages.lib.scaling.fit import PowerLaw, Rate, Rival, Spent, Sweep, frontier, power_law, rivals, spent
from stages.lib.scaling.runs import short


def report(found: Sequence[Sweep]) -> str:
    """All tables: setups at their best learning rate, the law of each optimizer, every learning rate, rivals."""
    parts = [table_of_setups(found)]
    for name in sorted({sweep.optimizer for sweep in found}):
        parts.append(told_law(name, frontier(spent(sweep for sweep in found if sweep.optimizer == name))))
    if any(sweep.swept for sweep in found):
        parts.append(table_of_rates(found))
    compared = rivals(found)
    if compared:
        parts.append(table_of_rivals(compared))
    return "\n\n".join(parts)


def table_of_setups(found: Sequence[Sweep]) -> str:
    """A row a setup at its best learning rate; * marks the frontier of its optimizer."""
    edges: list[Spent] = []
    for name in sorted({sweep.optimizer for sweep in found}):
        edges += frontier(spent(sweep for sweep in found if sweep.optimizer == name))
    on_edge = {id(point.sweep) for point in edges}
    lines = [
        "| layers x width | weights | optimizer | steps | tokens | FLOPs | best lr | validation loss, its error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for sweep in found:
        best = sweep.best
        lr = f"{best.lr:g}" + (f" of {len(sweep.rates)}" if sweep.swept else "") + (" (edge)" if sweep.at_edge else "")
        star = " *" if id(sweep) in on_edge else ""
        lines.append(
            f"| {sweep.size.n_layer} x {sweep.size.d_model} | {sweep.size.weights:,} | {sweep.optimizer} | "
            f"{sweep.budget.steps:,} | {short(sweep.budget.tokens)} | {best.runs[0].matmul_flops:.2e} | {lr} | "
            f"{with_error(best)}{star} |"
        )
    return "\n".join(lines)


def with_error(rate: Rate) -> str:
    """`1.6732 +- 0.0040 (3 seeds)`, or of one run the error over the validation data."""
    if rate.seed_error is not None:
        return f"{rate.mean:.4f} ± {rate.seed_error:.4f} ({len(rate.runs)} seeds)"
    error = rate.runs[0].val_standard_error
    return f"{rate.mean:.4f}" + (f" ± {error:.4f} (data)" if error is not None else "")


def told_law(optimizer: str, edge: Sequence[Spent]) -> str:
    """The law in words, with how far one point moves it; or why there is none."""
    law = power_law([point.matmul_flops for point in edge], [point.loss for point in edge])
    if law is None:
        setups = f"{len(edge)} setup{'s' if len(edge) > 1 else ''}"
        return f"{optimizer}: {setups} on the frontier (*), too few for a power law"
    return f"{optimizer}: {law_text(law)}"


def law_text(law: PowerLaw) -> str:
    """`loss = 25.1 x FLOPs^-0.093 through 5 points; ...`."""
    return (
        f"loss = {law.scale:.3g} x FLOPs^-{law.exponent:.3f} through {law.points} points of the frontier (*); exponent "
        f"{law.lowest:.3f} to {law.highest:.3f} with one of them left out, which is no confidence interval"
    )


def table_of_rates(found: Sequence[Sweep]) -> str:
    """Losses of each learning rate that was tried, a row a setup; the best in bold."""
    swept = [sweep for sweep in found if sweep.swept]
    every = sorted({rate.lr for sweep in swept for rate in sweep.rates})
    lines = [
        "| layers x width | optimizer | steps | " + " | ".join(f"lr {lr:g}" for lr in every) + " |",
        "|---|---|---|" + "---|" * len(every),
    ]
    for sweep in swept:
        losses = {rate.lr: f"{rate.mean:.4f}" for rate in sweep.rates}
        losses[sweep.best.lr] = f"**{losses[sweep.best.lr]}**"
        cells = " | ".join(losses.get(lr, "") for lr in every)
        name = f"{sweep.size.n_layer} x {sweep.size.d_model}"
        lines.append(f"| {name} | {sweep.optimizer} | {sweep.budget.steps:,} | {cells} |")
    return "\n".join(lines)


def table_of_rivals(compared: Sequence[Rival]) -> str:
    """Optimizers side by side at equal tokens, differences paired by seed."""
    lines = [
        "| layers x width | tokens | | lr | loss | | lr | loss | difference by seed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for rival in compared:
        cells = [f"{rival.sweep.size.n_layer} x {rival.sweep.size.d_model}", short(rival.sweep.budget.tokens)]
        for sweep in (rival.against, rival.sweep):
            cells += [sweep.optimizer, f"{sweep.best.lr:g}", with_error(sweep.best)]
        error = f" ± {rival.error:.4f}" if rival.error is not None else ""
        seeds = f"{len(rival.seeds)} seed{'s' if len(rival.seeds) > 1 else ''}"
        lines.append("| " + " | ".join(cells) + f" | {rival.mean:+.4f}{error} ({seeds}) |")
    return "\n".join(lines)
