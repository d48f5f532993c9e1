"""The judge of output commit, frame by frame: what arrived at the client (numbered_frames.Frame) against what was on
the wire between the agents (replication_tap.Event). Pure.

A frame may arrive once a checkpoint that knows of it is committed, or the session has stopped on purpose. Those that
checkpoint 1 knows of were sent before protection had begun: they pass.
"""

import bisect
import collections
import itertools

from . import numbered_frames


def judge(frames, events):
    """The figures of one session; the events are its own. `errors` says what must not be, in words; empty: all is
    well."""
    errors = []
    figures = {"frames": len(frames), "epochs": sum(each.kind == "commit" for each in events)}
    figures["by_kind"] = _sequence(frames, errors)
    figures["output"] = _output_commit(frames, events, errors)
    _commits_follow_checkpoints(events, errors)
    return {**figures, "errors": errors}


def _sequence(frames, errors):
    """Each stream arrived in order and without a gap, and so did each card's frames over all kinds."""
    counts = {}
    for (card, kind), stream in _grouped(frames, lambda each: (each.card, each.kind)).items():
        whole = _whole(stream)
        counts[f"card {card} {kind}"] = len(whole)
        if wrong := _disorder(whole):
            errors.append(f"card {card}, {kind}: {wrong}")
        if untrue := sum(not each.as_kind for each in stream):
            errors.append(f"card {card}: {untrue} frames arrived as something else than {kind}")
    for card, stream in _grouped(frames, lambda each: each.card).items():
        orders = [order for order, _ in itertools.groupby(each.order for each in stream)]
        if wrong := _disorder(orders):
            errors.append(f"card {card}, all kinds: {wrong}")
    cards = {each.card for each in frames}
    for card, kind in itertools.product(cards, numbered_frames.KINDS):
        if f"card {card} {kind}" not in counts:
            errors.append(f"card {card}: no {kind} frame arrived")
    return counts


def _whole(stream):
    """The numbers in the order of arrival, one per frame: pieces of a GSO frame are put together if they are all there
    and in order."""
    numbers = []
    for number, pieces in itertools.groupby(stream, key=lambda each: each.number):
        pieces = list(pieces)
        in_order = all(a.segment < b.segment for a, b in zip(pieces, pieces[1:]))
        if pieces[0].segment == 0 and in_order:
            numbers.append(number)
    return numbers


def _disorder(numbers):
    """What is wrong with numbers that should be consecutive, in words; empty if nothing is."""
    if all(b == a + 1 for a, b in zip(numbers, numbers[1:])):
        return ""
    seen = set(numbers)
    lost = [each for each in range(min(seen), max(seen) + 1) if each not in seen]
    reordered = sum(b < a for a, b in zip(numbers, numbers[1:]))
    texts = []
    if lost:
        texts.append(f"{len(lost)} of {max(seen) - min(seen) + 1} lost (from {lost[0]} on)")
    if len(numbers) > len(seen):
        texts.append(f"{len(numbers) - len(seen)} came twice")
    if reordered:
        texts.append(f"{reordered} overtaken")
    return ", ".join(texts)


def _output_commit(frames, events, errors):
    """No frame before its commit. Returns how many were held until a commit, and how long after it they came."""
    first = next((each for each in events if each.kind == "checkpoint" and each.epoch == 1), None)
    if first is None:
        errors.append("no checkpoint 1 was seen on the wire")
        return {}
    commit_of = _commits(events)
    ended_ns = next((each.at_ns for each in events if each.kind in ("stopped", "failed")), float("inf"))
    early = collections.Counter()
    earliest_ns = 0
    delays_ns = []
    for frame in frames:
        if frame.order <= first.known[frame.card]:
            continue
        committed_ns = commit_of(frame.card, frame.order)
        allowed_ns = min(committed_ns, ended_ns)
        if frame.at_ns <= allowed_ns:
            early[frame.kind] += 1
            earliest_ns = max(earliest_ns, allowed_ns - frame.at_ns)
        elif committed_ns < ended_ns:
            delays_ns.append(frame.at_ns - committed_ns)
    if early:
        kinds = ", ".join(f"{count} {kind}" for kind, count in early.items())
        errors.append(f"frames arrived before their checkpoint was committed: {kinds}; up to {earliest_ns / 1e6:.1f} ms")
    held = {"early": sum(early.values()), "held": len(delays_ns)}
    if not delays_ns:
        errors.append("no frame was held")
        return held
    delays_ns.sort()
    held["after_commit_ms"] = {"least": _milliseconds(delays_ns[0]), "p50": _milliseconds(delays_ns[len(delays_ns) // 2]),
                               "p99": _milliseconds(delays_ns[len(delays_ns) * 99 // 100])}
    return held


def _milliseconds(nanoseconds):
    return round(nanoseconds / 1e6, 1)


def _commits(events):
    """A function (card, order) -> when a commit that covers this frame was first on the wire; infinity: never."""
    known = {each.epoch: each.known for each in events if each.kind == "checkpoint"}
    commits = [(known[each.epoch], each.at_ns) for each in events if each.kind == "commit" and each.epoch in known]
    by_card = list(zip(*(counts for counts, _ in commits)))

    def commit_of(card, order):
        index = bisect.bisect_left(by_card[card], order) if commits else 0
        return commits[index][1] if index < len(commits) else float("inf")

    return commit_of


def _commits_follow_checkpoints(events, errors):
    sent = set()
    expected = 1
    for each in events:
        if each.kind == "checkpoint":
            sent.add(each.epoch)
        elif each.kind == "commit":
            if each.epoch not in sent:
                errors.append(f"epoch {each.epoch} was committed before its checkpoint had left")
            if each.epoch != expected:
                errors.append(f"epoch {each.epoch} was committed where {expected} was next")
            expected = each.epoch + 1


def _grouped(frames, key):
    groups = collections.defaultdict(list)
    for each in frames:
        groups[key(each)].append(each)
    return groups
