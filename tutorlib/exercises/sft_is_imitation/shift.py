"""Exercise 10.1: which token is predicted where, and which predictions are learned."""

from __future__ import annotations

import torch
from torch import Tensor

from tutorlib.exercises.sft_is_imitation.shift_answers import (
    EOS,
    IGNORED,
    MUTANTS,
    PAD,
    VARIANTS,
    shift_and_mask,
)
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor

UNIT = "sft_is_imitation"


def row_by_row(input_ids, attention_mask, prompt_lengths) -> Tensor:
    """Cut each row into prompt, answer and padding as lists, and put it together again."""
    rows = []
    for ids, keep, asked in zip(input_ids.tolist(), attention_mask.tolist(),
                                prompt_lengths.tolist(), strict=True):
        said = ids[asked:sum(keep)]
        rows.append([IGNORED] * (asked - 1) + said + [IGNORED] * (len(ids) - asked - len(said)))
    return torch.tensor(rows)


def make_batch(lengths, filler: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw rows of (prompt, answer) lengths; an answer ends with EOS, padding is ``filler``.

    Where it is not the padding, token 0 is a word like any other: the longest answer holds it.
    """
    width = max(map(sum, lengths))
    ids = torch.randint(4, 40, (len(lengths), width), generator=generator)
    mask = torch.zeros(len(lengths), width).long()
    for row, (asked, said) in enumerate(lengths):
        ids[row, asked + said - 1] = EOS
        ids[row, asked + said:] = filler
        mask[row, :asked + said] = 1
    if filler != 0:
        row, (asked, _) = max(enumerate(lengths), key=lambda x: x[1][1])
        ids[row, asked] = 0
    return ids, mask, torch.tensor([asked for asked, _ in lengths])


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw batches; in some the padding is the end-of-sequence token, as in many set-ups."""
    plans = ((((3, 4), (2, 3), (5, 1)), PAD, "three sequences, padded with token 0"),
             (((4, 2), (1, 5), (2, 2), (3, 1)), EOS, "padded with the end-of-sequence token, 3"),
             (((2, 4), (4, 2)), EOS, "nothing is padded; token 0 is a word"),
             (((6, 3), (3, 1)), EOS, "one long sequence, one short"))
    return [Case(args=make_batch(lengths, filler, generator), note=note)
            for lengths, filler, note in plans]


def as_many_as_the_answers_tokens(answer, case: Case) -> str | None:
    """Each token of an answer is learned once, its end included."""
    _, mask, prompts = case.args
    want = (mask.sum(1) - prompts).tolist()
    got = (as_tensor(answer(*case.args)) != IGNORED).sum(-1).tolist()
    return None if got == want else f"the answers have {want} tokens, but {got} are learned"


def padding_never_matters(answer, case: Case) -> str | None:
    """Other ids in the padding change no target."""
    ids, mask, prompts = case.args
    other = torch.where(mask == 1, ids, torch.full_like(ids, 17))
    same = torch.equal(as_tensor(answer(other, mask, prompts)), as_tensor(answer(*case.args)))
    return None if same else "with another token in the padding the targets changed"


def more_padding_adds_nothing(answer, case: Case) -> str | None:
    """Two more columns of padding are two more columns of -100."""
    ids, mask, prompts = case.args
    wider = as_tensor(answer(torch.nn.functional.pad(ids, (0, 2), value=EOS),
                             torch.nn.functional.pad(mask, (0, 2)), prompts))
    want = torch.nn.functional.pad(as_tensor(answer(*case.args)), (0, 2), value=IGNORED)
    return None if torch.equal(wider, want) else "two more columns of padding changed the targets"


def name_target(case: Case, index: tuple[int, ...]) -> str:
    """Say which token a target is."""
    row, column = index
    asked, used = int(case.args[2][row]), int(case.args[1][row].sum())
    place = column + 1
    part = ("in the prompt" if place < asked else "padding" if place >= used else
            "the answer's end" if place == used - 1 else "in the answer")
    return f"sequence {row}, the token at place {place}, {part}"


def show_targets(answer):
    """Draw which predictions are learned in a small batch."""
    from tutorlib.viz import token_strip

    tokens = [["<bos>", "sky", "?", "blue", "<eos>"], ["<bos>", "hi", "hello", "<eos>", "<eos>"]]
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    ids, prompts = torch.tensor([[2, 7, 9, 5, 3], [2, 8, 6, 3, 3]]), torch.tensor([3, 2])
    learned = (as_tensor(answer(ids, mask, prompts)) != IGNORED).double()
    return token_strip(tokens, {"learned (1: yes)": learned}, prompt=[3, 2], mask=mask,
                       names=["row 0", "row 1"], limits={"learned (1: yes)": (0, 1)},
                       title=f"{int(learned.sum())} of {learned.numel()} predictions are learned: "
                             "the answers and their ends")


SHIFT_AND_MASK = Exercise(
    id=f"{UNIT}.shift_and_mask",
    title="Shift and mask",
    points=2, minutes=10, difficulty=2,
    reference=shift_and_mask,
    oracle=row_by_row,
    hand=Case(
        args=(torch.tensor([[2, 7, 9, 5, 3], [2, 8, 6, 3, 3]]),
              torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]), torch.tensor([3, 2])),
        # row 0: prompt 2 7 9, answer 5 3; row 1: prompt 2 8, answer 6 3, then a 3 as padding
        expected=torch.tensor([[-100, -100, 5, 3], [-100, 6, 3, -100]]),
        note="prompts 2 7 9 and 2 8, answers 5 3 and 6 3; the last 3 of row 1 is padding"),
    cases=draw_cases,
    properties=(
        Property("each token of the answer once", as_many_as_the_answers_tokens),
        Property("padding never matters", padding_never_matters),
        Property("more padding adds nothing", more_padding_adds_nothing),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Two questions for each position but the last. Which token comes next? And is that token "
        "part of the answer: behind the prompt, and not padding? Ask both about the *next* token.",
        "`input_ids[:, 1:]` are the next tokens, `[batch, tokens - 1]`. Column $j$ holds the token "
        "at place $j + 1$ of the sequence; it is in the answer where $j + 1 \\ge$ `prompt_lengths` "
        "and `attention_mask[:, 1:]` is 1. `masked_fill(~learned, -100)` marks the rest; "
        "`prompt_lengths[:, None]` compares row by row.",
        "```python\n"
        "place = torch.arange(1, input_ids.shape[1])   # of the targets in the sequence\n"
        "learned = ...            # behind the prompt, and no padding: [batch, tokens - 1]\n"
        "return ...               # the next tokens, -100 where not learned\n"
        "```",
    ),
    why="Position t has read the tokens up to t, so its logits speak of token t + 1. Both masks "
        "are asked about that token. The end of sequence counts, whatever its id is used for "
        "elsewhere: masks, not ids, say what is padding.",
    index_names=name_target,
    figure=show_targets,
    forbidden=("tutorlib.lm.collate",),
)
