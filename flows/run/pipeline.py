"""Every stage of the engine by name: what names its work, what does it, and how often it is tried again."""

from flows.run.runner import Intake, Stage
from tasks import clean, compare, evaluate, generate, pair, score
from tasks import targets as targets_stage
from tasks.evaluation import published as evaluate_published
from tasks.evaluation import scorer as evaluate_scorer
from tasks.ingest import stage as ingest_stage
from tasks.ingest.annotated import ingest_annotations
from tasks.ingest.hypotheses.stage import ingest_hypotheses
from tasks.ingest.pairs.stage import ingest_pairs
from tasks.report import stage as report_stage
from tasks.synthesize import stage as synthesize_stage
from tasks.train import align_stage, base_stage, clean_stage, scorer_stage

SYNTHESIZE = Stage("synthesize", synthesize_stage.synthesize_spec, synthesize_stage.synthesize)
INGEST = Stage("ingest", ingest_stage.ingest_spec, ingest_stage.ingest)
INGEST_ANNOTATIONS = Intake("ingest", ingest_annotations)
INGEST_PAIRS = Intake("ingest_pairs", ingest_pairs)
INGEST_HYPOTHESES = Intake("ingest_hypotheses", ingest_hypotheses)
TRAIN_BASE = Stage("train_base", base_stage.train_base_spec, base_stage.train_base, retries=0)
TRAIN_SCORER = Stage("train_scorer", scorer_stage.train_scorer_spec, scorer_stage.train_scorer, retries=0)
GENERATE = Stage("generate", generate.generate_spec, generate.generate)
SCORE = Stage("score", score.score_spec, score.score)
PAIR = Stage("pair", pair.pair_spec, pair.pair, on_ray=False)
TARGETS = Stage("targets", targets_stage.targets_spec, targets_stage.targets)
ALIGN = Stage("align", align_stage.align_spec, align_stage.align, retries=0)
EVALUATE = Stage("evaluate", evaluate.evaluate_spec, evaluate.evaluate)
EVALUATE_PUBLISHED = Stage(
    "evaluate_published", evaluate_published.evaluate_published_spec, evaluate_published.evaluate_published
)
EVALUATE_SCORER = Stage("evaluate_scorer", evaluate_scorer.evaluate_scorer_spec, evaluate_scorer.evaluate_scorer)
COMPARE = Stage("compare", compare.compare_spec, compare.compare, on_ray=False)
PSEUDO_LABEL = Stage("pseudo_label", clean.pseudo_label_spec, clean.pseudo_label)
GIVEN_LABELS = Stage("given_labels", clean.given_labels_spec, clean.given_labels, on_ray=False)
SCORE_LABELS = Stage("score_labels", clean.score_labels_spec, clean.score_labels)
KEEP = Stage("keep", clean.keep_spec, clean.keep, on_ray=False)
TRAIN_CLEAN = Stage("train_clean", clean_stage.train_clean_spec, clean_stage.train_clean, retries=0)
REPORT = Stage("report", report_stage.report_spec, report_stage.report, on_ray=False)
