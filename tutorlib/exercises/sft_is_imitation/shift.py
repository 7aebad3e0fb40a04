"""Exercise 10.1: which token is predicted where, and which predictions are learned."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor

UNIT = "sft_is_imitation"
IGNORED = -100  # transformers' mark of a target that is not learned
EOS, PAD = 3, 0


def shift_and_mask(input_ids: Int[Tensor, "batch tokens"],
                   attention_mask: Int[Tensor, "batch tokens"],
                   prompt_lengths: Int[Tensor, " batch"]
                   ) -> Int[Tensor, "batch tokens_minus_one"]:
    """Return the token after each position, -100 unless it belongs to the answer."""
    place = torch.arange(1, input_ids.shape[1])  # of the targets
    learned = (attention_mask[:, 1:] == 1) & (place >= prompt_lengths[:, None])
    return input_ids[:, 1:].masked_fill(~learned, IGNORED)


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


def _with(learned, ids):
    return ids.masked_fill(~learned, IGNORED)


def _places(ids, first=1):
    return torch.arange(first, first + ids.shape[1] - 1)


def _without_the_end(ids, mask, prompts):
    targets = shift_and_mask(ids, mask, prompts)
    last = mask.sum(1) - 2
    return targets.scatter(1, last[:, None], IGNORED)


def _by_the_id_of_the_padding(ids, mask, prompts):
    padding = ids[mask == 0][0] if bool((mask == 0).any()) else PAD
    return _with((ids[:, 1:] != padding) & (_places(ids) >= prompts[:, None]), ids[:, 1:])


def _shifted_twice(ids, mask, prompts):
    return torch.nn.functional.pad(shift_and_mask(ids, mask, prompts)[:, 1:], (0, 1),
                                   value=IGNORED)


def _labels(ids, mask, prompts):
    return _with((mask == 1) & (torch.arange(ids.shape[1]) >= prompts[:, None]), ids)


def _not_shifted(ids, mask, prompts):
    return _labels(ids, mask, prompts)[:, :-1]


def _other_way(ids, mask, prompts):
    return torch.nn.functional.pad(_labels(ids, mask, prompts), (1, 0), value=IGNORED)[:, :-2]


def _in_place(ids, mask, prompts):
    targets = ids[:, 1:]  # a view: writing into it changes ids
    targets[~((mask[:, 1:] == 1) & (_places(ids) >= prompts[:, None]))] = IGNORED
    return targets


def _prompts_alone(ids, mask, prompts):
    return _with(_places(ids) < prompts[:, None], ids[:, 1:])


def _zeros(ids, mask, prompts):
    targets = shift_and_mask(ids, mask, prompts)
    return targets.masked_fill(targets == IGNORED, 0)


def _shortest_prompt(ids, mask, prompts):
    return _with((mask[:, 1:] == 1) & (_places(ids) >= prompts.min()), ids[:, 1:])


MUTANTS = (
    Mutant("end_left_out", _without_the_end,
           "The end of each answer is not learned. It is a token of the answer like any other: it "
           "is what teaches a model to stop. Mask by `attention_mask`, not by id."),
    Mutant("masked_by_the_id_of_the_padding", _by_the_id_of_the_padding,
           "You recognise padding by its id. Where the end-of-sequence token serves as padding, "
           "which is common, every answer loses its end and the model never learns to stop. Use "
           "`attention_mask`."),
    Mutant("zero_taken_for_padding", lambda ids, mask, prompts: _with(
               (mask[:, 1:] == 1) & (_places(ids) >= prompts[:, None]) & (ids[:, 1:] != 0),
               ids[:, 1:]),
           "Token 0 is masked wherever it stands. It is an id like any other, and may be a word "
           "of an answer: `attention_mask` alone says what is padding."),
    Mutant("not_shifted", _not_shifted,
           "The targets are not shifted: position t would have to predict token t, which it has "
           "just read. The loss falls to nearly 0, and nothing useful is learned."),
    Mutant("shifted_twice", _shifted_twice,
           "You shift twice: position t would predict token t + 2. Position t predicts the very "
           "next token, `input_ids[:, 1:]`."),
    Mutant("shifted_the_other_way", _other_way,
           "You shift the wrong way: position t would predict token t - 1, which the model has "
           "already read."),
    Mutant("labels_of_transformers", _labels,
           "These are `labels` as transformers takes them: not shifted, because its models shift "
           "inside. Here the shift is yours: one column fewer."),
    Mutant("prompt_learned", lambda ids, mask, prompts: _with(mask[:, 1:] == 1, ids[:, 1:]),
           "The prompt is learned as well. Pretraining does that; here only the answer is "
           "imitated: targets at places from `prompt_lengths` on."),
    Mutant("padding_learned", lambda ids, mask, prompts: _with(
               _places(ids) >= prompts[:, None], ids[:, 1:]),
           "Padding is learned. `attention_mask` is 0 there: no target."),
    Mutant("mask_of_the_position", lambda ids, mask, prompts: _with(
               (mask[:, :-1] == 1) & (_places(ids) >= prompts[:, None]), ids[:, 1:]),
           "`attention_mask` must be asked about the *target*, `attention_mask[:, 1:]`. Asked "
           "about the position that predicts, it lets the padding behind the end through."),
    Mutant("first_token_left_out", lambda ids, mask, prompts: _with(
               (mask[:, 1:] == 1) & (_places(ids, 0) >= prompts[:, None]), ids[:, 1:]),
           "The first token of each answer is missing. It is predicted at the prompt's *last* "
           "position: a target in column j stands at place j + 1 of the sequence."),
    Mutant("last_token_of_the_prompt", lambda ids, mask, prompts: _with(
               (mask[:, 1:] == 1) & (_places(ids, 2) >= prompts[:, None]), ids[:, 1:]),
           "The last token of each prompt is learned too. A target in column j stands at place "
           "j + 1 of the sequence; the answer begins at place `prompt_lengths`."),
    Mutant("both_off_by_one", lambda ids, mask, prompts: _with(
               (mask[:, :-1] == 1) & (_places(ids, 0) >= prompts[:, None]), ids[:, 1:]),
           "The targets are shifted, but not the masks: both speak of the position that predicts. "
           "So the first token of each answer is lost, and the padding behind its end is learned."),
    Mutant("prompt_alone", _prompts_alone,
           "The mask is turned round: you learn the prompt and leave the answer out."),
    Mutant("one_prompt_length_for_all", _shortest_prompt,
           "Each row has its own prompt length. Compare places with `prompt_lengths[:, None]`."),
    Mutant("first_prompt_length_for_all", lambda ids, mask, prompts: _with(
               (mask[:, 1:] == 1) & (_places(ids) >= prompts[0]), ids[:, 1:]),
           "The first row's prompt length serves for all rows. Each has its own: compare with "
           "`prompt_lengths[:, None]`."),
    Mutant("right_mask_wrong_tokens", lambda ids, mask, prompts: _with(
               (mask[:, 1:] == 1) & (_places(ids) >= prompts[:, None]), ids[:, :-1]),
           "The mask is right, but the tokens are those just read, `input_ids[:, :-1]`. The "
           "targets are the next ones, `input_ids[:, 1:]`."),
    Mutant("zeros_where_ignored", _zeros,
           "0 is a token. What is not learned is marked with -100, which is none."),
    Mutant("in_place", _in_place,
           "`input_ids[:, 1:]` is a view: writing -100 into it changes `input_ids`. Use "
           "`masked_fill`, `torch.where` or a `.clone()`."),
)


def _numpy(ids, mask, prompts):
    ids, mask, prompts = ids.numpy(), mask.numpy(), prompts.numpy()
    learned = (mask == 1) & (np.arange(ids.shape[1])[None] >= prompts[:, None])
    return np.where(learned, ids, IGNORED)[:, 1:]


def _loops(ids, mask, prompts):
    rows = []
    for i in range(len(ids)):
        row = []
        for t in range(ids.shape[1] - 1):
            learned = mask[i, t + 1] == 1 and t + 1 >= prompts[i]
            row.append(int(ids[i, t + 1]) if learned else IGNORED)
        rows.append(row)
    return rows


def _labels_then_shift(ids, mask, prompts):
    labels = ids.clone()
    labels[mask == 0] = IGNORED
    for row, length in enumerate(prompts.tolist()):
        labels[row, :length] = IGNORED
    return labels[:, 1:]


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
    variants=(
        Variant("numpy", _numpy),
        Variant("loops, as lists", _loops),
        Variant("labels first, then the shift", _labels_then_shift),
    ),
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
