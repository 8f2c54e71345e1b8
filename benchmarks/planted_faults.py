"""Plants known faults in a copy of the package, one at a time, and runs the tests that must notice.

    python benchmarks/planted_faults.py [HAZARD ...]

Each fault is one edit of one file under src/recscale. It is caught when every test named beside it
fails by what it asserts; a test that cannot be collected, or that dies of a NameError, proves
nothing and does not count. A test of a public log skips where that log is absent; the others named
beside it must fail all the same.

Ends in one JSON document on stdout. Exit status 1: a fault went unnoticed, a named test fails
without any fault, or the text to replace is no longer there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src") / "recscale"
CONTRACT = "tests/models/test_contract.py"
REQUESTS = "tests/features/test_requests.py"
PREPARE = "tests/features/test_prepare.py"
FUTURE = f"{CONTRACT}::test_future_events_do_not_change_past_scores"
NEIGHBOURS = f"{CONTRACT}::test_score_does_not_depend_on_neighbours_in_batch"
PADDING = f"{CONTRACT}::test_score_does_not_depend_on_extra_padding"
SHUFFLED = f"{CONTRACT}::test_score_follows_candidates_when_shuffled"
ALONE = f"{PREPARE}::test_future_events_leave_vocabulary_and_statistics_alone"
RESUMED = "tests/training/test_fit.py::test_a_resumed_run_equals_a_straight_one"
TIES = "tests/data/test_split.py::test_ties_in_time_keep_the_original_row_order"
SORTED = "tests/data/test_split.py::test_any_user_id_sorts_like_two_keys_do"
DIGEST = "tests/data/test_movielens.py::test_the_targets_of_ratings_dat_have_the_published_digest"
CRASHES = ("NameError", "ImportError", "ModuleNotFoundError", "SyntaxError", "TypeError",
           "AttributeError")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One edit that must not go unnoticed."""

    hazard: int  # the number that the docstrings of the tests name
    name: str
    file: str  # under src/recscale
    old: str  # stands in the file exactly once
    new: str
    tests: tuple[str, ...]  # pytest node ids; a parametrised test without [..] may fail in part


@dataclass(frozen=True, slots=True)
class Outcome:
    """What pytest said of one test."""

    test: str  # node id
    status: str  # passed, failed, skipped, or broken: an error that no assertion raised


TRUNCATION = (
    Fault(
        1,
        "a request sees the oldest events",
        "features/requests.py",
        "    start = base + np.maximum(shared - history, 0)\n"
        "    return Rows(rows.user, start, base + shared, rows.candidate, rows.offsets)",
        "    stop = base + np.minimum(shared, history)\n"
        "    return Rows(rows.user, base, stop, rows.candidate, rows.offsets)",
        (f"{REQUESTS}::test_a_request_sees_the_newest_events_and_no_older_ones",),
    ),
    Fault(
        1,
        "a training window lacks its newest event",
        "features/requests.py",
        "base + begin, base + longest, rows",
        "base + begin, base + np.maximum(longest - 1, begin), rows",
        (f"{REQUESTS}::test_every_training_candidate_sees_its_own_past_once",),
    ),
    Fault(
        2,
        "HR@10 leaves out rank 10",
        "evaluation/metrics.py",
        "return (ranks <= k)",
        "return (ranks < k)",
        ("tests/evaluation/test_metrics.py::test_hr_at_10_counts_rank_10",),
    ),
    Fault(
        2,
        "NDCG@10 leaves out rank 10",
        "evaluation/metrics.py",
        "np.where(ranks <= k,",
        "np.where(ranks < k,",
        (
            "tests/evaluation/test_metrics.py"
            "::test_ndcg_is_one_for_the_first_place_and_falls_with_its_logarithm",
        ),
    ),
    Fault(
        2,
        "ranks are counted from zero",
        "evaluation/metrics.py",
        "return 1.0 + above + 0.5 * ties",
        "return above + 0.5 * ties",
        ("tests/evaluation/test_metrics.py::test_rank_counts_items_above_and_half_of_the_ties",),
    ),
)

LADDERS = (
    Fault(
        11,
        "the loss leaves out what the user has seen",
        "evaluation/protocol.py",
        "        loss=_losses(scores, of, target),\n",
        "        loss=_losses(scores.masked_fill(~allowed, -100.0), of, target),\n",
        (
            "tests/evaluation/test_protocol.py"
            "::test_the_softmax_loss_is_over_the_whole_catalogue_whatever_was_seen",
        ),
    ),
    Fault(
        11,
        "item vectors are cosines, not logits",
        "models/generative/retriever.py",
        "return self.items.unit_table() / self.objective.temperature",
        "return self.items.unit_table()",
        (f"{CONTRACT}::test_item_vectors_rank_like_scores",),
    ),
    Fault(
        24,
        "a rung is taken over without waiting for its lease",
        "scaling/claims.py",
        "return now - before[2] > self.lease_seconds",
        "return True",
        ("tests/scaling/test_claims.py::test_a_silent_worker_loses_its_rung_after_a_lease",),
    ),
    Fault(
        24,
        "a finished rung may be claimed again",
        "scaling/claims.py",
        'return told["state"] == RELEASED',
        "return True",
        ("tests/scaling/test_claims.py::test_a_finished_rung_is_never_claimed_again",),
    ),
    Fault(
        24,
        "a worker that was taken over goes on",
        "scaling/claims.py",
        "                os._exit(LOST)\n",
        "                pass\n",
        (
            "tests/scaling/test_claims.py"
            "::test_a_worker_that_was_taken_over_ends_before_it_writes_more",
        ),
    ),
    Fault(
        25,
        "a forecast may be written after the fact",
        "scaling/forecast.py",
        "    if begun:\n",
        "    if False:\n",
        ("tests/scaling/test_worker.py::test_nothing_is_forecast_once_a_held_out_rung_was_begun",),
    ),
    Fault(
        25,
        "held-out rungs are among what laws are fitted to",
        "scaling/ladder.py",
        "if rung.group not in held]",
        "]",
        (
            "tests/scaling/test_ladder.py"
            "::test_smallest_rungs_come_first_and_held_out_ones_are_not_fitted",
        ),
    ),
    Fault(
        25,
        "intervals forget that numbers were fitted",
        "scaling/laws.py",
        "return len(self.points) - self.form.size",
        "return len(self.points)",
        ("tests/scaling/test_laws.py::test_a_linear_law_has_the_textbook_intervals",),
    ),
)

NEIGHBOURHOOD = (
    Fault(
        3,
        "HSTU divides attention by the padded length",
        "models/generative/hstu.py",
        "x = block(x, among, self.scale)",
        "x = block(x, among, 0 * self.scale + 1 / max(1, int(history.lengths.max())))",
        (f"{NEIGHBOURS}[exposures-hstu]", f"{PADDING}[positives-hstu-forgetting]"),
    ),
    Fault(
        3,
        "the pooled history is divided by the padded length",
        "models/jagged.py",
        "count = where.index % where.length + 1",
        "count = torch.full_like(where.index, where.length)",
        (f"{NEIGHBOURS}[exposures-dcnv2]", f"{PADDING}[positives-dcnv2-parallel]"),
    ),
    Fault(
        3,
        "the pooled history runs on from the row before",
        "models/jagged.py",
        "total = unpad(pad(values, where).cumsum(1), where)",
        "total = values.cumsum(0)",
        (
            f"{NEIGHBOURS}[exposures-dcnv2]",
            "tests/models/test_jagged.py::test_running_mean_starts_anew_in_every_row",
        ),
    ),
    Fault(
        3,
        "positions are counted from the end of the padding",
        "models/generative/transformer.py",
        "place - offsets[jagged.owner(offsets)]",
        "int(offsets.diff().max()) - 1 - place + offsets[jagged.owner(offsets)]",
        (f"{NEIGHBOURS}[exposures-transformer]", f"{PADDING}[positives-transformer-forgetting]"),
    ),
    Fault(
        4,
        "log-decay is added inside SiLU",
        "models/generative/attention.py",
        "_gated(F.silu(weight, inplace=True), tile, h)",
        "weight += 0 if tile.gate is None else tile.gate[:, 0].log()\n"
        "                    F.silu(weight, inplace=True)",
        ("tests/models/test_forgetting.py::test_decay_multiplies_after_silu_in_hstu",),
    ),
    Fault(
        6,
        "candidates are answered in the order of their prefixes",
        "models/jagged.py",
        "place = torch.where(prefix > 0, offsets[row] + prefix, 0)",
        "place = torch.where(prefix > 0, offsets[row] + prefix, 0).sort().values",
        tuple(f"{SHUFFLED}[exposures-{name}]" for name in ("hstu", "transformer", "dcnv2")),
    ),
    Fault(
        6,
        "DIN scores candidates in the order of their ids",
        "models/ctr/din.py",
        'candidate = self.items(ahead.features["item"])',
        'candidate = self.items(ahead.features["item"].sort().values)',
        (f"{SHUFFLED}[exposures-din]", f"{SHUFFLED}[positives-din-forgetting]"),
    ),
    Fault(
        6,
        "evaluation leaves its targets in the order of its chunks",
        "evaluation/protocol.py",
        "_numpy(torch.cat(places).argsort())",
        "_numpy(torch.cat(places).sort().indices.flip(0))",
        ("tests/evaluation/test_protocol.py::test_targets_come_in_the_order_of_the_candidates",),
    ),
)

LEAKS = (
    Fault(
        5,
        "HSTU without a causal mask",
        "models/generative/bias.py",
        "torch.full_like(both[:1], NEVER)",
        "torch.zeros_like(both[:1])",
        (f"{FUTURE}[exposures-hstu]", f"{FUTURE}[positives-hstu-forgetting]"),
    ),
    Fault(
        5,
        "the transformer without a causal mask",
        "models/generative/transformer.py",
        "is_causal=decay is None",
        "is_causal=False",
        (f"{FUTURE}[exposures-transformer]", f"{FUTURE}[positives-transformer-full]"),
    ),
    Fault(
        5,
        "an event attends to the one after it",
        "models/generative/transformer.py",
        ".triu(1)",
        ".triu(2)",
        (f"{FUTURE}[exposures-transformer-forgetting]",),
    ),
    Fault(
        5,
        "a candidate reads the state one event too late",
        "models/jagged.py",
        "offsets[row] + prefix, 0)",
        "(offsets[row] + prefix + 1).clamp(max=len(values)), 0)",
        tuple(f"{FUTURE}[exposures-{name}]" for name in ("hstu", "transformer", "dcnv2")),
    ),
    Fault(
        5,
        "DIN attends to one event beyond the prefix",
        "models/ctr/din.py",
        "place < prefix[:, :, None]",
        "place <= prefix[:, :, None]",
        (f"{FUTURE}[exposures-din]", f"{FUTURE}[positives-din-forgetting]"),
    ),
    Fault(
        5,
        "a long history is searched beyond the prefix",
        "models/ctr/long_din.py",
        "place >= prefix[:, None]",
        "place > prefix[:, None]",
        (f"{FUTURE}[exposures-din-long-simhash]", f"{FUTURE}[positives-din-long-category]"),
    ),
    Fault(
        5,
        "the last-seen floor looks one event ahead",
        "models/floors/recent.py",
        "pair * size + ahead.prefix",
        "pair * size + ahead.prefix + 1",
        (f"{FUTURE}[exposures-recent]",),
    ),
    Fault(
        5,
        "events at the moment of a request are its past",
        "data/split.py",
        "run_starts(user, events[TIME].to_numpy())",
        "np.arange(events.height)",
        ("tests/data/test_split.py::test_temporal_prefix_counts_strictly_earlier_events_only",),
    ),
    Fault(
        12,
        "the vocabulary is fitted on all rows",
        "features/fitted.py",
        "else Vocabulary.fit(train[name])",
        "else Vocabulary.fit(split.events[name])",
        (ALONE,),
    ),
    Fault(
        12,
        "ids follow the order of appearance",
        "features/vocab.py",
        "column.drop_nulls().unique().sort()",
        "column.drop_nulls().unique(maintain_order=True)",
        (
            f"{PREPARE}::test_ids_follow_the_set_of_training_values_not_their_order",
            "tests/features/test_vocab.py"
            "::test_ids_follow_sorted_training_values_and_the_rest_is_unseen",
        ),
    ),
    Fault(
        12,
        "mean and deviation are those of all rows",
        "features/fitted.py",
        "Moments.of(train[name], train[USER])",
        "Moments.of(split.events[name], split.events[USER])",
        (ALONE, f"{PREPARE}::test_history_holds_every_event_user_by_user_in_event_order"),
    ),
    Fault(
        12,
        "popularity counts future events",
        "features/encode.py",
        "encoded[ITEM][train & masks.positive]",
        "encoded[ITEM][masks.positive]",
        (ALONE, f"{PREPARE}::test_items_are_described_by_what_training_saw"),
    ),
    Fault(
        12,
        "user features are fitted on users of the future",
        "features/encode.py",
        "trained = users.filter(pl.col(TRAINED))",
        "trained = users",
        (f"{PREPARE}::test_a_user_that_training_never_saw_is_unseen",),
    ),
)

REPEATS = (
    Fault(
        7,
        "a resumed run does not restore torch's generator",
        "training/callbacks.py",
        'torch.set_rng_state(self._pending["torch"])',
        "pass",
        (f"{RESUMED}[3]", f"{RESUMED}[5]"),
    ),
    Fault(
        7,
        "the loader's position is not saved",
        "features/batches.py",
        'return {"epoch": self.epoch, "position": self.position}',
        'return {"epoch": self.epoch, "position": 0}',
        (f"{RESUMED}[2]", f"{RESUMED}[4]", f"{REQUESTS}::test_a_loader_goes_on_where_it_stopped"),
    ),
    Fault(
        7,
        "the loader's epoch is not saved",
        "features/batches.py",
        'return {"epoch": self.epoch, "position": self.position}',
        'return {"epoch": 0, "position": self.position}',
        (f"{RESUMED}[7]", f"{REQUESTS}::test_a_loader_goes_on_where_it_stopped"),
    ),
    Fault(
        7,
        "an epoch's order is drawn anew by each process",
        "features/batches.py",
        "np.random.default_rng((self.seed, self.epoch))",
        "np.random.default_rng()",
        (f"{REQUESTS}::test_a_loader_goes_on_where_it_stopped",),
    ),
    Fault(
        7,
        "early stopping forgets its best step",
        "training/callbacks.py",
        'self.best_value, self.best_step = state_dict["best_value"], state_dict["best_step"]',
        "self.best_value, self.best_step = None, 0",
        ("tests/training/test_fit.py::test_what_early_stopping_knew_survives_a_resume",),
    ),
    Fault(
        13,
        "forgetting turned off still decays a little",
        "models/forgetting/kernel.py",
        "return age.new_ones(1, 1, 1, 1)",
        "return (age * -1e-12).exp()[:, None]",
        ("tests/models/test_forgetting.py::test_turned_off_it_is_bit_identical_to_din_without_it",),
    ),
    Fault(
        18,
        "anomaly detection is left on",
        "training/fit.py",
        "detect_anomaly=False",
        "detect_anomaly=True",
        ("tests/training/test_fit.py::test_autograd_anomaly_detection_is_off_while_training",),
    ),
)

CLOCKS = (
    Fault(
        14,
        "clocks are cast to float32 before they are subtracted",
        "models/clock.py",
        "(now - then).float().div_(1000)",
        "(now.float() - then.float()).div_(1000)",
        (
            "tests/models/test_clock.py"
            "::test_ages_keep_milliseconds_where_float32_would_lose_minutes",
        ),
    ),
    Fault(
        14,
        "ids pass through float32 into a batch",
        "features/batches.py",
        "values.astype(np.int64)\n    return torch.from_numpy(wide)",
        "values.astype(np.float32).astype(np.int64)\n    return torch.from_numpy(wide)",
        (f"{REQUESTS}::test_clocks_and_ids_reach_a_batch_unrounded",),
    ),
    Fault(
        14,
        "times pass through float32 into a batch",
        "features/batches.py",
        'torch.from_numpy(store.history["time"][past])',
        'torch.from_numpy(store.history["time"][past]).float().long()',
        (f"{REQUESTS}::test_clocks_and_ids_reach_a_batch_unrounded",),
    ),
    Fault(
        14,
        "ids pass through float32 in the vocabulary",
        "features/vocab.py",
        "known = self.values.to_numpy()",
        "known = self.values.cast(pl.Float32).to_numpy()",
        ("tests/features/test_vocab.py::test_ids_above_the_float32_range_stay_apart",),
    ),
    Fault(
        14,
        "times are read as float32",
        "data/clock.py",
        "_fraction(number.cast(pl.Float64, strict=False), unit)",
        "_fraction(number.cast(pl.Float32, strict=False), unit)",
        (
            "tests/data/test_table.py"
            "::test_every_unit_is_floored_to_milliseconds_without_passing_float32",
        ),
    ),
    Fault(
        20,
        "age runs to the log's last event",
        "models/ctr/din.py",
        "age_seconds(now[part][:, :, None], clock[row[part]][:, None]),",
        "age_seconds(clock.max(), clock[row[part]][:, None]).expand(-1, now.shape[1], -1),",
        (
            "tests/models/test_mechanisms.py"
            "::test_din_interest_is_the_weighted_sum_over_visible_events"
            "[exposures-forgetting1]",
        ),
    ),
    Fault(
        20,
        "the gap is measured from the batch's last event",
        "models/clock.py",
        "bucket(age_seconds(ahead.time, seen))",
        "bucket(age_seconds(past.time.max() if len(past.time) else seen, seen))",
        (f"{CONTRACT}::test_one_second_in_the_request_matters[exposures-hstu]",),
    ),
)

ORDER = (
    Fault(
        15,
        "ties are reversed",
        "data/order.py",
        "events.with_columns(key).sort(KEY, maintain_order=True)",
        "events.with_columns(key).reverse().sort(KEY, maintain_order=True)",
        (TIES, SORTED, DIGEST),
    ),
    Fault(
        15,
        "the sort is not stable",
        "data/order.py",
        "events.with_columns(key).sort(KEY, maintain_order=True)",
        "events.with_columns(key).sample(fraction=1, shuffle=True).sort(KEY)",
        (SORTED, DIGEST),
    ),
    Fault(
        15,
        "ties follow the item instead of the row",
        "data/order.py",
        "events.with_columns(key).sort(KEY, maintain_order=True)",
        'events.with_columns(key).sort(KEY, "item", maintain_order=True)',
        (TIES, DIGEST),
    ),
    Fault(
        15,
        "the wide sort is reversed within ties",
        "data/order.py",
        "return events.sort(USER, TIME, maintain_order=True)",
        "return events.reverse().sort(USER, TIME, maintain_order=True)",
        (SORTED,),
    ),
    Fault(
        19,
        "what is seen ties in another order than what is asked",
        "features/encode.py",
        'writer.append("history", name, values[masks.history])',
        "writer.append(\n"
        '            "history",\n'
        "            name,\n"
        "            values[masks.history][\n"
        "                np.lexsort(\n"
        "                    (encoded[ITEM], events[TIME].to_numpy(), events[USER].to_numpy())\n"
        "                )\n"
        "                if masks.history.all()\n"
        "                else slice(None)\n"
        "            ],\n"
        "        )",
        (f"{PREPARE}::test_history_and_requests_share_the_order_of_the_split",),
    ),
    Fault(
        19,
        "a large log deals its rows out in another order than the file's",
        "data/partition.py",
        "mine = batch.filter(pl.Series(owner == place))",
        "mine = batch.filter(pl.Series(owner == place)).reverse()",
        (f"{PREPARE}::test_a_log_in_many_ranges_gives_the_same_folder",),
    ),
    Fault(
        19,
        "ties fall as chance has it",
        "data/partition.py",
        "by_user_and_time(log.events.collect())",
        "by_user_and_time(log.events.collect().sample(fraction=1, shuffle=True))",
        (
            f"{PREPARE}::test_a_log_of_ties_gives_the_same_folder_every_time",
            f"{PREPARE}::test_history_and_requests_share_the_order_of_the_split",
        ),
    ),
)

TOGETHER_TESTS = "tests/models/test_together.py"
TOGETHER = (
    Fault(
        21,
        "members train on with their combiner",
        "models/together/member.py",
        "return super().train(False)",
        "return super().train(mode)",
        (f"{TOGETHER_TESTS}::test_members_do_not_learn_nor_drop_out",),
    ),
    Fault(
        21,
        "a run of another seed is taken for a member",
        "members.py",
        "settings == wanted and",
        "settings.model == wanted.model and",
        ("tests/test_members.py::test_a_run_of_other_settings_or_seed_is_no_member",),
    ),
    Fault(
        21,
        "the weights of scores are fitted on test",
        "validation.py",
        'store, "valid", history, positive=',
        'store, "test", history, positive=',
        ("tests/test_members.py::test_weights_of_scores_are_fitted_on_validation_alone",),
    ),
    Fault(
        21,
        "a candidate is held against the best of the list instead of its last",
        "models/together/shortlist.py",
        "values[of, -1]",
        "values[of, 0]",
        (
            f"{TOGETHER_TESTS}::test_a_shortlist_scores_candidates_as_its_list_does[positives]",
            f"{TOGETHER_TESTS}::test_a_shortlist_of_the_whole_catalogue_is_the_second_model"
            "[positives]",
        ),
    ),
    Fault(
        21,
        "transitions of held-out events count as memorised",
        "evaluation/context.py",
        'store.candidates["part"] == PARTS.index("train")',
        'store.candidates["part"] >= PARTS.index("train")',
        ("tests/evaluation/test_context.py::test_only_training_events_are_remembered",),
    ),
)

INTERLEAVED = "tests/serving/test_engine.py::test_served_equals_offline_after_any_interleaving"
BATCHER = "tests/serving/test_batcher.py"

SERVING = (
    Fault(
        9,
        "an event of the request's own moment is served as history",
        "serving/past.py",
        "torch.searchsorted(self.events.time, time)",
        "torch.searchsorted(self.events.time, time, right=True)",
        (f"{INTERLEAVED}[recent]",),
    ),
    Fault(
        9,
        "a state goes on when the window has moved",
        "serving/engine.py",
        "if kept is not None and kept.start == start:",
        "if kept is not None:",
        (
            f"{INTERLEAVED}[hstu]",
            f"{INTERLEAVED}[din]",
        ),
    ),
    Fault(
        9,
        "a state is read that lacks the newest events",
        "serving/engine.py",
        "if kept is not None and kept.stop == past.total:",
        "if kept is not None:",
        (
            f"{INTERLEAVED}[hstu]",
            f"{INTERLEAVED}[dcnv2]",
        ),
    ),
    Fault(
        9,
        "events that come together see each other's future",
        "models/generative/incremental.py",
        "self.visible = self.distance >= 0",
        "self.visible = self.distance >= -len(place)",
        (
            f"{INTERLEAVED}[hstu]",
            f"{INTERLEAVED}[transformer]",
        ),
    ),
    Fault(
        9,
        "kept levels forget the step of their event",
        "models/generative/stored.py",
        "step = more.abs().amax(-1, keepdim=True) / self.most",
        "step = more.abs().amax().expand_as(more[..., :1]) / self.most",
        ("tests/models/test_stored.py::test_events_kept_one_by_one_are_as_if_kept_at_once[int8]",),
    ),
    Fault(
        9,
        "items of a later chunk get the ids of the first one",
        "serving/index.py",
        "place + start",
        "place + FIRST",
        (
            "tests/serving/test_index.py"
            "::test_chunks_of_any_size_find_what_one_sort_of_all_items_finds[7]",
        ),
    ),
    Fault(
        9,
        "latency counts from when the server got to it",
        "serving/openloop.py",
        "queue[place] = 1e3 * (begun - due)",
        "queue[place] = 0.0",
        ("tests/serving/test_openloop.py::test_latency_counts_from_the_moment_a_request_was_due",),
    ),
    Fault(
        9,
        "work that came too late leaves the server busy for ever",
        "serving/batcher.py",
        "            self._running = 0\n",
        "            self._running = len(jobs) - len(alive)\n",
        (
            f"{BATCHER}::test_a_job_whose_time_ran_out_while_it_waited_is_not_run"
            "_and_the_next_one_is",
        ),
    ),
    Fault(
        9,
        "everybody is accepted",
        "serving/batcher.py",
        "busy = self._jobs or self._running",
        "busy = False",
        (f"{BATCHER}::test_what_would_be_too_late_is_refused_and_told_when_to_come_back",),
    ),
)

PROCESSES = (
    Fault(
        8,
        "a process without targets does not take part in the read",
        "models/losses.py",
        "    uniform = draw(objective.uniform, items.num_items, target.device)\n    #",
        "    if not len(target):\n"
        "        return query.sum()\n"
        "    uniform = draw(objective.uniform, items.num_items, target.device)\n    #",
        (
            "tests/models/test_losses.py"
            "::test_a_share_without_targets_reads_the_tables_as_often_as_one_with_them",
        ),
    ),
    Fault(
        8,
        "each process takes the mean over its own share",
        "models/ranks.py",
        "    if grouped():\n        dist.all_reduce(count)\n    return summed * (world() / ",
        "    return summed * (1 / ",
        ("tests/training/test_processes.py::test_two_processes_end_where_one_does",),
    ),
    Fault(
        7,
        "a second start finds the addresses of the first",
        "training/launch.py",
        'return PrefixStore(f"start-{start}", store), rank, world',
        "return store, rank, world",
        (
            "tests/training/test_launch.py"
            "::test_processes_that_are_started_again_do_not_find_the_addresses_of_those_that_are_gone",
        ),
    ),
    Fault(
        16,
        "a checkpoint is gone on with though shards are missing",
        "training/shards.py",
        "        if not (folder / name).exists():\n",
        "        if False:\n",
        (
            "tests/training/test_processes.py"
            "::test_a_checkpoint_without_one_of_its_files_is_refused_by_name",
        ),
    ),
)

FAULTS = (
    *TRUNCATION, *NEIGHBOURHOOD, *LEAKS, *REPEATS, *CLOCKS, *ORDER, *TOGETHER, *LADDERS,
    *SERVING, *PROCESSES
)  # fmt: skip


def main() -> int:
    """Check the copy, plant every fault in it, print the verdicts. The exit status."""
    chosen = set(map(int, sys.argv[1:]))
    faults = [fault for fault in FAULTS if not chosen or fault.hazard in chosen]
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch).resolve()
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        require_own_package(copy)
        tests = dict.fromkeys(test for fault in faults for test in fault.tests)
        broken = [o.test for o in run(copy, tests) if o.status not in ("passed", "skipped")]
        verdicts = [] if broken else [tell(fault, copy) for fault in faults]
    caught = sum(verdict["caught"] for verdict in verdicts)
    document = {"faults": verdicts, "caught": caught, "planted": len(faults)}
    if broken:
        document["failing_without_a_fault"] = broken
    print(json.dumps(document))
    return int(caught < len(faults))


def tell(fault: Fault, copy: Path) -> dict[str, Any]:
    """The verdict on one fault, also told on stderr."""
    verdict = {"hazard": fault.hazard, "fault": fault.name, **plant(fault, copy)}
    said = "caught" if verdict["caught"] else f"NOT CAUGHT: {verdict.get('why')}"
    print(f"hazard {fault.hazard}: {fault.name}: {said}", file=sys.stderr, flush=True)
    return verdict


def plant(fault: Fault, copy: Path) -> dict[str, Any]:
    """Edit the copy, run the tests, put the text back."""
    path = copy / PACKAGE / fault.file
    healthy = path.read_text(encoding="utf-8")
    places = healthy.count(fault.old)
    if places != 1:
        why = f"{fault.file} holds the text to replace {places} times"
        return {"caught": False, "why": why, "tests": list(fault.tests)}
    path.write_text(healthy.replace(fault.old, fault.new), encoding="utf-8")
    outcomes = run(copy, fault.tests)
    path.write_text(healthy, encoding="utf-8")
    return judge(fault.tests, outcomes)


def judge(tests: tuple[str, ...], outcomes: list[Outcome]) -> dict[str, Any]:
    """Caught: each named test failed, those that this machine has to skip apart."""
    failed: list[str] = []
    missed: list[str] = []
    for test in tests:
        statuses = {o.status for o in outcomes if o.test == test or o.test.split("[")[0] == test}
        if "failed" in statuses and "broken" not in statuses:
            failed.append(test)
        elif statuses != {"skipped"}:
            missed.append(f"{test} {' and '.join(sorted(statuses)) or 'did not run'}")
    if missed or not failed:
        return {"caught": False, "why": "; ".join(missed) or "all skipped", "tests": list(tests)}
    return {"caught": True, "tests": failed}


def run(copy: Path, tests: Iterable[str]) -> list[Outcome]:
    """Run node ids on the copy. A collection error is an outcome too: of no named test."""
    report = copy / "report.xml"
    report.unlink(missing_ok=True)
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=no", f"--junitxml={report}", *tests],
        cwd=copy,
        env=environment(copy),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if not report.exists():
        return [Outcome("pytest itself", "broken")]
    return [outcome(case) for case in ElementTree.parse(report).iter("testcase")]


def outcome(case: ElementTree.Element) -> Outcome:
    """A testcase of a JUnit report."""
    test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
    for child in case:
        message = child.get("message", "")
        if child.tag == "skipped":
            return Outcome(test, "skipped")
        if child.tag == "error" or message.startswith(CRASHES):
            return Outcome(test, "broken")
        if child.tag == "failure":
            return Outcome(test, "failed")
    return Outcome(test, "passed")


def require_own_package(copy: Path) -> None:
    """Faults are planted in the copy: an installed package would never show them."""
    code = "import recscale; print(recscale.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy,
        env=environment(copy),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    wanted = copy / PACKAGE / "__init__.py"
    assert Path(found).resolve() == wanted, f"imported {found}, want {wanted}"


def environment(copy: Path) -> dict[str, str]:
    """The copy comes before any installed package, and no stale bytecode before its source."""
    found = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    found.setdefault("RECSCALE_DATA", str(ROOT.parent / "shared" / "data"))
    return found


if __name__ == "__main__":
    sys.exit(main())
