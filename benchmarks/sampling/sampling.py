"""Answer tokens per CPU second: our sampler beside generate and a bare loop, and our scorer.

    python benchmarks/sampling/sampling.py            # measure, write results.json and the table
    python benchmarks/sampling/sampling.py --quick    # a small run that prints and writes nothing
    python benchmarks/sampling/sampling.py --table    # write the table of README.md anew
    python benchmarks/sampling/sampling.py --model DIR --prompts FILE    # your model, your prompts

All three sample from the same model at temperature 1, on one thread, the same left-padded prompts,
up to the same limit. The bare loop is what one writes first: forward with the cache of
transformers, softmax, multinomial, until every answer has ended. Turns alternate, each turn counts
the tokens of its answers, and a rate is all tokens over all CPU seconds. Without --model, the model
is TinyTalk's "base" and the prompts are drawn from all of TinyTalk's families: the lengths of
prompts and answers are those that the course's lessons meet.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import DynamicCache, __version__

from tutorlib import tinytalk
from tutorlib.lm import (
    SamplingSettings,
    encode_prompts,
    load,
    mask_after_eos,
    per_token_logps,
    position_ids,
    sample,
)
from tutorlib.tinytalk.tokenizer import chat_prompt

HERE = Path(__file__).parent
BATCHES = (16, 64, 128, 256)
LIMIT = 48  # max_new_tokens


def workload(arguments):
    """Return the model, its tokenizer and the texts that are asked."""
    if arguments.model:
        texts = Path(arguments.prompts).read_text().splitlines()
        return *load(arguments.model, device="cpu"), texts
    texts = [chat_prompt(prompt.text) for prompt in tinytalk.sample_prompts(max(BATCHES), seed=0)]
    return *tinytalk.load("base"), texts


def ours(model, ids, mask, limit: int, seed: int):
    """Return answers and their mask from ``tutorlib.lm.sample``."""
    drawn = sample(model, ids, mask, SamplingSettings(limit), torch.Generator().manual_seed(seed))
    return drawn.completion_ids, drawn.completion_mask


def generate(model, ids, mask, limit: int, seed: int):
    """Return the same from ``model.generate``."""
    torch.manual_seed(seed)
    with torch.inference_mode():
        found = model.generate(input_ids=ids, attention_mask=mask, do_sample=True, top_k=0,
                               top_p=1.0, temperature=1.0, max_new_tokens=limit)
    answers = found[:, ids.shape[1]:]
    return answers, mask_after_eos(answers, model.config.eos_token_id)


@torch.inference_mode()
def bare(model, ids, mask, limit: int, seed: int):
    """Return the same from a loop over cached forward passes, until all answers have ended."""
    torch.manual_seed(seed)
    cache, answers = DynamicCache(config=model.config), []
    done = torch.zeros(len(ids), dtype=torch.bool)
    new, places = ids, position_ids(mask)
    for _ in range(limit):
        logits = model(input_ids=new, attention_mask=mask, position_ids=places,
                       past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        new = torch.multinomial(logits.softmax(-1), 1)
        answers.append(new)
        done |= new[:, 0] == model.config.eos_token_id
        if bool(done.all()):
            break
        mask = torch.cat([mask, torch.ones_like(new)], 1)
        places = places[:, -1:] + 1
    answers = torch.cat(answers, 1)
    return answers, mask_after_eos(answers, model.config.eos_token_id)


def rates(turns: dict, seconds: float) -> dict[str, float]:
    """Return tokens per CPU second of each function, which take turns for ``seconds`` in all."""
    for turn in turns.values():
        turn(0)  # the first call of each pays for what is made once
    tokens, spent = dict.fromkeys(turns, 0), dict.fromkeys(turns, 0.0)
    seed = 0
    while sum(spent.values()) < seconds or seed < 3:
        seed += 1
        for name, turn in turns.items():
            start = time.process_time()  # of this process alone: a busy machine adds little
            count = turn(seed)
            spent[name] += time.process_time() - start
            tokens[name] += count
    return {name: tokens[name] / spent[name] for name in turns}


def measure_sampling(model, ids, mask, limit: int, seconds: float) -> dict:
    """Return tokens per CPU second of the three samplers, and lengths of answers."""
    def turn(sampler):
        return lambda seed: int(sampler(model, ids, mask, limit, seed)[1].sum())

    lengths = ours(model, ids, mask, limit, 0)[1].sum(1).double()
    samplers = {"tutorlib": ours, "generate": generate, "bare": bare}
    return {"batch": len(ids), "mean_tokens": float(lengths.mean()),
            "longest": int(lengths.max()),
            **rates({name: turn(sampler) for name, sampler in samplers.items()}, seconds)}


def measure_scoring(model, ids, mask, limit: int, seconds: float) -> dict:
    """Return scored answer tokens per CPU second: ours, whole and in chunks, and a plain pass."""
    answers, answer_mask = ours(model, ids, mask, limit, 0)

    @torch.no_grad()
    def plain(_seed):
        both, seen = torch.cat([ids, answers], 1), torch.cat([mask, answer_mask], 1)
        logits = model(input_ids=both, attention_mask=seen, position_ids=position_ids(seen)).logits
        logps = logits[:, :-1].log_softmax(-1).gather(-1, both[:, 1:, None])[..., 0]
        return int((logps[:, ids.shape[1] - 1:] * answer_mask < 0).sum())

    def scorer(batch_size):
        @torch.no_grad()
        def turn(_seed):
            found = per_token_logps(model, ids, mask, answers, answer_mask, batch_size=batch_size)
            return int((found < 0).sum())
        return turn

    turns = {"whole": scorer(None), "in_32s": scorer(32), "plain": plain}
    return {"batch": len(ids), **rates(turns, seconds)}


def run(arguments) -> dict:
    """Measure everything that the command line asks for."""
    torch.set_num_threads(1)
    batches = (16, 64) if arguments.quick else BATCHES
    seconds = 0.5 if arguments.quick else arguments.seconds
    model, tokenizer, texts = workload(arguments)
    rows, shared, scoring = [], [], []
    for batch in batches:
        asked = [texts[i % len(texts)] for i in range(batch)]
        prompts = encode_prompts(tokenizer, asked, add_special_tokens=False)
        rows.append(measure_sampling(model, *prompts, LIMIT, seconds))
        eighth = [x[:batch // 8].repeat_interleave(8, 0) for x in prompts]
        shared.append(measure_sampling(model, *eighth, LIMIT, seconds))
        scoring.append(measure_scoring(model, *prompts, LIMIT, seconds / 3))
        print(rows[-1], shared[-1], scoring[-1], sep="\n", flush=True)
    return {"model": arguments.model or "TinyTalk base", "rows": rows, "shared": shared,
            "parameters": sum(p.numel() for p in model.parameters()), "scoring": scoring,
            "python": platform.python_version(), "torch": torch.__version__,
            "transformers": __version__, "processor": processor()}


def processor() -> str:
    """Return the processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(results: dict) -> str:
    """Return the results as markdown: two tables of sampling and one of scoring."""
    lines = []
    for title, rows in (("Prompts all different", results["rows"]),
                        ("Eight answers to each prompt", results["shared"])):
        lines += [f"{title}:", "",
                  "| answers | mean tokens | longest | tutorlib | generate | bare loop | "
                  "against generate | against bare |", "|---:|---:|---:|---:|---:|---:|---:|---:|"]
        lines += [f"| {r['batch']} | {r['mean_tokens']:.1f} | {r['longest']} | "
                  f"{r['tutorlib']:,.0f} | {r['generate']:,.0f} | {r['bare']:,.0f} | "
                  f"{r['tutorlib'] / r['generate']:.2f} | {r['tutorlib'] / r['bare']:.2f} |"
                  for r in rows] + [""]
    lines += ["Scoring:", "", "| answers | whole batch | 32 at a time | plain pass |",
              "|---:|---:|---:|---:|"]
    lines += [f"| {r['batch']} | {r['whole']:,.0f} | {r['in_32s']:,.0f} | {r['plain']:,.0f} |"
              for r in results["scoring"]]
    return "\n".join(lines)


def verdicts(results: dict) -> list[str]:
    """Return one sentence per target."""
    at_128 = [r["tutorlib"] / r["generate"] for r in results["rows"] if r["batch"] == 128]
    lines = [f"128 answers: {ratio:.2f} times generate, 1.5 asked: "
             f"{'met' if ratio >= 1.5 else 'MISSED'}." for ratio in at_128]
    worst = min(r["tutorlib"] / r["bare"] for r in results["rows"] + results["shared"])
    word = "met" if worst >= 1 else "MISSED"
    return [*lines, f"Least against the bare loop: {worst:.2f} times, 1 asked: {word}."]


def report(results: dict) -> str:
    """Return tables, verdicts and versions."""
    where = (f"Tokens per CPU second, one thread, {results['parameters']:,} parameters, "
             f"{results['processor']}, Python {results['python']}, torch {results['torch']}, "
             f"transformers {results['transformers']}.")
    return "\n".join([table(results), "", *(f"- {line}" for line in verdicts(results)), "", where])


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--seconds", type=float, default=9.0, help="CPU seconds for a line")
    parser.add_argument("--model", help="a folder or a name of the Hub")
    parser.add_argument("--prompts", help="a text file, one prompt on each line")
    chosen = parser.parse_args()
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if chosen.table else run(chosen)
    text = report(results)
    print(text)
    if chosen.quick or chosen.model:
        return
    path.write_text(json.dumps(results, indent=1) + "\n")
    page = HERE / "README.md"
    before, rest = page.read_text().split("<!-- BEGIN TABLE -->")
    after = rest.split("<!-- END TABLE -->")[1]
    page.write_text(f"{before}<!-- BEGIN TABLE -->\n{text}\n<!-- END TABLE -->{after}")


if __name__ == "__main__":
    main()
