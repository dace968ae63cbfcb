"""Two subjects against each other, in words."""

from casvit_dense.measure.group import Group
from casvit_dense.measure.subject import Subject
from casvit_dense.measure.timing import interval_of_median, ratios, spread


def verdict(group: Group, a: Subject, b: Subject) -> str:
    """How many times as fast as ``a`` the subject ``b`` is, with spread and interval.

    The interval is a bootstrap one of the median: where it holds 1, the run shows no difference.
    """
    failed = [s for s in (a, b) if s not in group.samples]
    if failed:
        reasons = "; ".join(f"{s.label}: {group.rows[s].get('error')}" for s in failed)
        return f"{a.input_words}: no comparison, since {reasons}"
    values = ratios(group.samples[a], group.samples[b])
    over_rounds, (low, high) = spread(values), interval_of_median(values)
    verdict = " (no difference is shown)" if low <= 1 <= high else ""
    return (
        f"{a.input_words}: B ({b.label}) is {over_rounds.median:.3f} times as fast as "
        f"A ({a.label}){verdict}\n"
        f"  over {len(values)} rounds: {over_rounds.p10:.3f} to {over_rounds.p90:.3f} "
        f"(10th and 90th percentile); 95 % interval of the median: {low:.3f} to {high:.3f}"
    )
