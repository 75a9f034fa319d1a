"""Ablations at one cut: the stack without one of its parts at a time, trained anew, on the same shoppers.

In: feature tables (`endcap run --until apply`). Out: reports/ablations.json, and the figure of it on the
quality page. A variant's values are kept in state/training/cut-<w>/ablations, so an interrupted run goes on
where it was. Choose parts on cuts 43 and earlier, never on those that results are quoted from.

    endcap bench-ablations --cut 43
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from bentos.blas import use_one_blas_thread
from feature_repo.settings import Settings
from jobs.benches.cut_steps import CutSteps
from jobs.benches.quality import check
from jobs.evaluate import write_page
from jobs.result import Result
from jobs.steps import Step, step_named
from jobs.writer_lock import writer_lock

if TYPE_CHECKING:
    from training.ablations.pairs import Pairs
    from training.ablations.variants import Material, Variant
    from training.fit import Prepared, Sources
    from training.split import Split

Say = Callable[[str], None]
TRAIN = step_named("train")


def values_file(settings: Settings, cut: int, variant: str) -> Path:
    """Where one variant's values per shopper are kept."""
    return settings.training / f"cut-{cut}" / "ablations" / f"{variant}.parquet"


def step_of(variant: "Variant") -> Step:
    """A variant as a step of its cut; it is done again when training's code changes."""
    return Step(
        name=f"ablation-{variant.name}",
        module="training.ablations.measure",
        after=TRAIN.after,
        outputs=lambda settings, choices: (values_file(settings, choices.cut, variant.name),),
        arguments=lambda _, choices: {"cut": choices.cut},
        more_code=TRAIN.more_code,
        files=TRAIN.files,
        libraries=TRAIN.libraries,
    )


@dataclass
class AblationBench:
    """The bench of one installation; `say` takes results, `head` a line before what takes its time."""

    settings: Settings
    say: Say
    head: Say
    held: "dict[Material, Pairs]" = field(default_factory=dict)  # of the latest material only
    ready: "dict[bool, Prepared]" = field(default_factory=dict)  # with text, without

    def run(self, cut: int, only: Sequence[str] = ()) -> Path:
        """Measure what is not measured yet, write the report; its path."""
        import orjson

        from feature_repo.store import open_store
        from training import per_shopper
        from training.ablations.records import ablation_records, lines
        from training.ablations.variants import chosen, variants
        from training.fit import Sources
        from training.split import temporal_split

        use_one_blas_thread()
        check(self.settings, [cut])
        sources = Sources.open(self.settings, open_store(self.settings))
        split = temporal_split(sources.calendar, cut)
        found = chosen(variants(columns_of(sources)), only)
        with writer_lock(self.settings):
            steps = CutSteps(self.settings, cut, ())
            for number, variant in enumerate(found, 1):
                self.step(steps, variant, f"[{number}/{len(found)}] {variant.says}", sources, split)
            values = {
                variant.name: per_shopper.read(values_file(self.settings, cut, variant.name), cut)
                for variant in found
            }
            records = ablation_records(found, values, cut=cut)
            path = self.settings.reports / "ablations.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name("ablations.json.aside")
            aside.write_bytes(orjson.dumps(records, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2))
            aside.replace(path)
            page = write_page(self.settings)
        self.say(lines(records))
        self.say(f"\n{len(found)} variants at cut {cut}: {path}" + (f", drawn in {page}" if page else ""))
        return path

    def step(
        self, steps: CutSteps, variant: "Variant", name: str, sources: "Sources", split: "Split"
    ) -> None:
        """Measure one variant, unless that is done."""
        step, parts = step_of(variant), {"variant": repr(described(variant))}
        if steps.done(step, **parts) is not None:
            self.head(f"{name}: done before")
            return
        self.head(name)
        begin = perf_counter()
        steps.do(step, lambda: self.measure(variant, sources, split), **parts)
        self.head(f"{name}: {perf_counter() - begin:.1f} s")

    def measure(self, variant: "Variant", sources: "Sources", split: "Split") -> Result:
        """Train and measure one variant; its values are left in its file."""
        from training import per_shopper
        from training.ablations.measure import measured

        pairs = self.pairs(variant.material, sources, split)
        values = measured(variant, pairs, seed=split.cut, threads=self.settings.threads)
        where = values_file(self.settings, split.cut, variant.name)
        per_shopper.write(values, where)
        return Result(f"ablation-{variant.name}", len(values), "values", where)

    def pairs(self, material: "Material", sources: "Sources", split: "Split") -> "Pairs":
        """Pairs of one material; those of the one before are let go."""
        from training.ablations.pairs import pairs_of

        if material not in self.held:
            self.held.clear()
            ready = self.prepared(sources, split, text=material.text)
            self.held[material] = pairs_of(
                material, ready, sources, split, threads=self.settings.threads, report=self.progress
            )
        return self.held[material]

    def prepared(self, sources: "Sources", split: "Split", *, text: bool) -> "Prepared":
        """Towers and instants, with BERT's vectors or with zeros in their place."""
        from training.fit import prepared
        from training.world import world_before

        if text not in self.ready:
            self.ready.clear()
            world = world_before(sources.warehouse, sources.store, split.test.instant)
            if not text:
                world = replace(world, text_vectors=0 * world.text_vectors)
            self.ready[text] = prepared(
                sources, world, split, threads=self.settings.threads, report=self.progress
            )
        return self.ready[text]

    def progress(self, line: str) -> None:
        """A line of what goes on within a variant."""
        self.head(f"    {line}")


def columns_of(sources: "Sources") -> tuple[str, ...]:
    """The ranker's columns, as the registered features make them."""
    from bentos.scoring import matrix_columns
    from training.point_in_time import number_names

    users, items = (number_names(sources.store, name) for name in ("user_ranking", "item_ranking"))
    return matrix_columns(users, items)


def described(variant: "Variant") -> tuple[object, ...]:
    """What makes a variant what it is, in an order that does not change from run to run."""
    material, learning = variant.material, variant.learning
    return (
        sorted(variant.columns),
        (sorted(material.inputs), material.history_weeks, material.text),
        (learning.objective, learning.rounds, learning.weighed),
        variant.negatives,
        variant.windows,
    )
