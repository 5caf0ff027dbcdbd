"""Of each module that a training imports it is known whether its code is in the training's key.

A new module has to be put on its side: one that computes and is not reached from the stage's `code_identity(...)`
would have an old result published under new code.
"""

import ast

import pytest

from stages.lib.cache.code_identity import closure, plumbing
from stages.lib.cache.definitions import Binding, Unit, read_source
from tests.graph import ROOT, import_closure

# What the stages import and their weights do not depend on: what is read (its hash is in the key), shown, measured,
# checked, published or told.
FETCHED = {f"hub.{name}" for name in ("errors", "model_files", "repository", "transfer")}  # by commit, hash checked
READ = (
    {"reading.drop_advice", "tokens.continued_text", "gpt.devices"}
    | {"reading.chats", "reading.json_records", "reading.packages", "reading.patterns"}
    | {f"instructions.{name}" for name in ("delimited", "record_files", "records", "spam_files")}
)
STARTED = {"launching.launch", "launching.world"}  # by whom, in how many processes, which the trainer shares out
SHOWN = {
    "launching.launch",
    "training.speed",
    "training.out_of_memory",
    "training.memory",
    "weights.free_memory",
    "curves.curve_picture",
    "training.trackers",
    "training.published_training",
    "curves.score_curve",
}
# Rooms by which a stage measures what it trained, through the ledger, whose keys hold their code.
MEASURED = {
    "grpo": {"llm", "replying", "replies"},
    # The retriever's examples count by their content, and what was trained searches through `embedding`.
    "retriever": set(
        "qa code_settings syntax english languages passages wording embedding search reranking".split(),
    ),
}
DECIDE_NOT: dict[str, set[str]] = {
    "pretrain": {
        *SHOWN,
        *FETCHED,
        *("reading.data_sets", "reading.pinning"),
        *("reading.documents", "reading.json_records", "reading.hub", "hellaswag.items"),
        *("hellaswag.scoring", "hellaswag.together"),
        *("gpt.devices", "tokens.continued_text", "gpt.evaluating", "gpt.generate", "gpt.sampling", "tokens.bpe_table"),
        "training.source_losses",  # of the best, at the end
        *("gpt_export.huggingface", "gpt_export.huggingface_layouts", "gpt_export.huggingface_tokenizers"),  # init_from
        *("gpt_export.chat_template", "tokens.instruction_template"),
    },
    "finetune": SHOWN
    | READ
    | {"finetuning.answering", "finetuning.answer_scores", "finetuning.losses", "training.held_out", "shards.reading"}
    | {"gpt.evaluating", "gpt.generate", "gpt.sampling", "answers.likeness", "statistics.bootstrap"}
    | {"languages.english_or_not", "languages.words"},
    "retriever": FETCHED
    | STARTED - {"launching.launch"}
    | {f"retriever_training.{name}" for name in ("document_groups", "publishing", "runs")}
    | {"statistics.drawing", "weights.single_threads"},
    "qlora": FETCHED
    | STARTED
    | {"statistics.bootstrap", "lora.validation_losses", "lora.memory", "adapters.model_card"}
    | {"adapters.one_answer", "lora.preflight", "weights.free_memory"},
    "grpo": FETCHED
    | STARTED
    | {"statistics.bootstrap", "grpo.format_gain", "adapters.model_card", "grpo.reward_audit"}
    | {"grpo.reward_curve", "languages.english_or_not", "conversations.replies"}
    | {"weights.gguf_header"},  # for llama.cpp, which measures
}


def roots_of(stage: str) -> tuple[list[Unit], list[Unit]]:
    """What the stage's first call of code_identity with several roots names: the roots, and where the search stops."""
    module = f"stages.{stage}"
    source = read_source(ROOT, module)
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / f"stages/{stage}.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "code_identity"
    ]
    call = max(calls, key=lambda node: len(node.args))

    imports = dict(source.imports)
    for node in ast.walk(ast.parse((ROOT / f"stages/{stage}.py").read_text())):  # within functions, too
        if isinstance(node, ast.ImportFrom):
            imports |= {alias.asname or alias.name: Binding(str(node.module), alias.name) for alias in node.names}

    def unit(node: ast.expr) -> Unit:
        name = ast.unparse(node)
        return Unit(module, name) if name in source.definitions else Unit(*imports[name])

    stop = [word.value.elts for word in call.keywords if isinstance(word.value, ast.List)]
    named = [node for elements in stop for node in elements if isinstance(node, ast.Name)]
    return [unit(node) for node in call.args], [unit(node) for node in named]


@pytest.mark.parametrize("stage", DECIDE_NOT)
def test_every_module_is_in_the_key_or_known_to_decide_nothing(stage: str) -> None:
    roots, without = roots_of(stage)
    unused = [Unit("stages.lib.gpt_export.initial_weights", "initial_model")] if stage == "pretrain" else []
    reached = {name.partition(":")[0] for name in closure(ROOT, roots, [*without, *unused, *plumbing()])}
    files = {file for file in import_closure(f"stages/{stage}.py") if not file.endswith("__init__.py")}
    imported = {file.removesuffix(".py").replace("/", ".") for file in files}
    stops = {unit.module.removeprefix("stages.lib.") for unit in plumbing()}
    found = {name.removeprefix("stages.lib.") for name in imported - reached} - stops
    assert {name for name in found if name.partition(".")[0] not in MEASURED.get(stage, ())} == DECIDE_NOT[stage]
