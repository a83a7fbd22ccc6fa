"""The model card of a variant: what it is, what was measured, how to use it."""

from __future__ import annotations

import json

from paretext_compression.figures import CORRELATIONS, figure, joined, md, with_interval
from paretext_models.manifest import Manifest, Measured


def model_card(manifest: Manifest) -> str:
    """README.md of a variant: what it is, what was measured, how to use it. No speeds of any host.

    The card does not mention its own hash, so it can be written before the manifest is complete.
    """
    front = {
        "library_name": "onnxruntime",
        "pipeline_tag": "text-classification",
        "tags": ["onnx", "paretext", manifest.task.problem],
        "metrics": [manifest.measured.primary.name],
    }
    # JSON's strings and lists are YAML, too: nothing in a name can break out of them.
    matter = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())
    sections = {
        f"{manifest.model} / {manifest.variant}": _card_summary(manifest),
        "Measured": _card_measured(manifest),
        "Recall per class": _card_recall(manifest.measured.per_class_recall),
        "Intended use": _card_use(manifest),
        "Lineage": _card_lineage(manifest),
        "Files": _card_files(manifest),
    }
    body = "\n".join(
        f"{'##' if order else '#'} {md(title)}\n\n{text}\n"
        for order, (title, text) in enumerate(sections.items())
        if text
    )
    return f"---\n{matter}\n---\n\n{body}"


def _card_summary(manifest: Manifest) -> str:
    task = manifest.task
    kind = task.problem.replace("_", "-")
    unit = "pairs of texts" if task.pair else "single texts"
    some = ", ".join(md(label) for label in task.labels[:20])
    more = f", and {len(task.labels) - 20} more" if len(task.labels) > 20 else ""
    description = f"{md(manifest.description)}\n\n" if manifest.description else ""
    return (
        f"{description}A {md(manifest.architecture)} text classifier ({kind}) for {unit} of up to "
        f"{manifest.tokenizer.max_tokens} tokens, special tokens included. Labels: {some}{more}."
    )


def _card_measured(manifest: Manifest) -> str:
    measured = manifest.measured
    name = measured.primary.name
    estimates = [measured.primary, *measured.others, *filter(None, [measured.agreement])]
    unit = "" if name in CORRELATIONS else ", %"
    lines = [f"| metric{unit} | value | 95 % CI | part | n |", "|---|---|---|---|---|"]
    for each in estimates:
        value, interval = with_interval(each)
        title = f"{each.name} with the teacher" if each is measured.agreement else each.name
        lines.append(f"| {md(title)} | {value} | {interval} | {md(each.split)} | {each.n} |")
    facts = [
        f"{measured.parameters:,} parameters; {measured.macs:,} multiply-accumulates for a text of "
        f"{measured.macs_tokens} tokens; {measured.bytes_on_disk:,} bytes on disk.",
        _card_batch(measured.batch_independent),
        f"Parity: before compression of the graph, the exported fp32 graph differed from the torch "
        f"network by at most {measured.parity.max_abs_difference:.2g} in a logit over "
        f"{measured.parity.inputs} inputs (spread of the logits: "
        f"{measured.parity.logit_spread:.3g}).",
    ]
    if measured.calibration_error is not None:
        facts.insert(0, f"Expected calibration error: {measured.calibration_error:.3f}.")
    bullets = "\n".join(f"- {fact}" for fact in [*_card_paired(measured), *facts])
    return "\n".join(lines) + f"\n\n{bullets}"


def _card_paired(measured: Measured) -> list[str]:
    """One sentence on the test against the teacher, where there was one."""
    paired, name = measured.paired, measured.primary.name
    if paired is None:
        return []
    unit = "" if name in CORRELATIONS else " points"
    test = {"mcnemar_exact": "exact McNemar test", "paired_bootstrap": "paired bootstrap"}
    low, high = (figure(name, bound, "+") for bound in paired.ci95)
    verdict = "no significant difference at the 5 % level, which does not prove that there is none"
    if paired.p_value < 0.05:
        verdict = f"a significant {'loss' if paired.difference < 0 else 'gain'} at the 5 % level"
    return [
        f"Against its teacher on the same {measured.primary.n:,} rows, {md(name)} differs by "
        f"{figure(name, paired.difference, '+')}{unit} (95 % CI {low} to {high}; "
        f"{test[paired.method]}, p = {paired.p_value:.2g}): {verdict}."
    ]


def _card_batch(independent: bool) -> str:
    if independent:
        return "Answers did not change with the other texts of a batch, nor with padding."
    return (
        "**Answers can change with the other texts of a batch.** Run one text at a time to get "
        "the answers that were measured."
    )


def _card_recall(recall: dict[str, float]) -> str:
    if not recall:
        return ""
    lines = [f"| {md(label)} | {value * 100:.1f} |" for label, value in recall.items()]
    return "\n".join(["| label | recall, % |", "|---|---|", *lines])


def _card_use(manifest: Manifest) -> str:
    what = "pairs of texts" if manifest.task.pair else "texts"
    text = (
        f"Classifying {what} like those it was trained and measured on; the figures above say "
        f"nothing about other texts. Serve it with `paretext serve STORE`."
    )
    if not {"config.json", "tokenizer.json"} <= manifest.files.keys():
        return text
    arguments = '"a text", "its pair"' if manifest.task.pair else '"a text"'
    limits = f"truncation=True, max_length={manifest.tokenizer.max_tokens}"
    return text + (
        " Or, in this folder, with optimum:\n\n```python\n"
        "from optimum.onnxruntime import ORTModelForSequenceClassification\n"
        "from transformers import AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained(".")\n'
        f'model = ORTModelForSequenceClassification.from_pretrained(".", '
        f"file_name={manifest.plan.file!r})\n"
        f'logits = model(**tokenizer({arguments}, return_tensors="pt", {limits})).logits\n```'
    )


def _card_lineage(manifest: Manifest) -> str:
    lineage = manifest.lineage
    steps = [_card_step(step) for step in lineage.recipe.get("steps", ())]
    steps = steps or ["none: the teacher, exported as it is"]
    elsewhere = "; the teacher was trained elsewhere" if lineage.teacher_trained_elsewhere else ""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(lineage.versions.items()))
    facts = [
        f"Made from {md(lineage.parent)} (sha256 {lineage.parent_sha256[:12]}){elsewhere}.",
        f"Seed {lineage.seed}." + (f" Built with {md(versions)}." if versions else ""),
        *(
            f"Data, {md(part)}: {used.rows:,} rows (sha256 {used.sha256[:12]})."
            for part, used in lineage.data.items()
        ),
    ]
    numbered = "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1))
    return "\n".join(f"- {fact}" for fact in facts) + f"\n\nSteps of the recipe:\n\n{numbered}"


def _card_step(step: dict[str, object]) -> str:
    given = ", ".join(f"{key} = {json.dumps(step[key])}" for key in step if key != "method")
    return md(joined(str(step.get("method", "?")), given))


def _card_files(manifest: Manifest) -> str:
    names = sorted({*manifest.files, "manifest.json"} - {"README.md"})
    return "\n".join(f"- {md(name)}" for name in names)
