"""The labeller's session and what is learned from it, judged by synthetic people."""

import json

import pytest
import torch

from tests.lm.conftest import as_a_learner
from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.rewards.labelling import (
    LabellingSession,
    answer_all,
    crowd_answers,
    learn_taste,
    likeness,
    taste_fitter,
)
from tutorlib.tinytalk import PERSONAS, Labeller, Preference, gold_parts, sample_prompts


@pytest.fixture(scope="module")
def friend():
    """Thirty choices of somebody who cares for tone."""
    session = LabellingSession.new(30, seed=3)
    answer_all(session, Labeller.persona("friend", temperature=0.2), seed=0)
    return session


def test_sessions_come_from_their_seed_with_two_different_answers():
    first, again, other = (LabellingSession.new(12, seed=s).questions for s in (0, 0, 1))
    assert first == again != other
    assert len(first) == 12 and all(q.left != q.right for q in first)
    better = [Labeller().utility(q.prompt, q.left) > Labeller().utility(q.prompt, q.right)
              for q in LabellingSession.new(200).questions]
    assert 60 < sum(better) < 140  # sides say nothing


def test_choices_are_kept_in_order_and_can_be_taken_back():
    session = LabellingSession.new(4)
    for choice in ("left", "skip", "tie"):
        session.choose(choice)
    assert session.current == session.questions[3] and session.progress == (3, 4)
    session.undo()
    session.choose("right")
    q = session.questions
    assert session.judged() == [(q[0], 1.0), (q[2], 0.0)]
    assert session.preferences() == [Preference(q[0].prompt, q[0].left, q[0].right),
                                     Preference(q[2].prompt, q[2].right, q[2].left)]
    session.choose("tie")
    assert session.current is None and session.judged()[-1] == (q[3], 0.5)
    with pytest.raises(InvalidArgumentError, match="all 4 questions are answered"):
        session.choose("left")
    for _ in range(6):
        session.undo()
    assert session.progress == (0, 4)


def test_a_session_is_saved_and_replayed(tmp_path):
    session = LabellingSession.new(5, seed=2)
    session.choose("right")
    session.choose("tie")
    session.save(tmp_path / "mine.json")
    again = LabellingSession.load(tmp_path / "mine.json")
    assert (again.questions, again.choices) == (session.questions, ["right", "tie"])
    again.choose("left")
    assert again.progress == (3, 5) and session.progress == (2, 5)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"questions": [{}], "choices": []}',
                                  '{"questions": [], "choices": []}'])
def test_what_is_no_session_is_refused(text):
    with pytest.raises((InvalidTextError, InvalidArgumentError), match=r"no saved|no questions"):
        LabellingSession.from_json(text)


def test_a_session_with_strange_choices_is_refused(tmp_path):
    data = json.loads(LabellingSession.new(2).to_json()) | {"choices": ["up"]}
    with pytest.raises(InvalidTextError, match="'up'; expected one of left"):
        LabellingSession.from_json(json.dumps(data))
    with pytest.raises(InvalidTextError, match="there is no file"):
        LabellingSession.load(tmp_path / "none.json")


@pytest.mark.parametrize("n, at_least", [(30, 0.6), (200, 0.72)])
def test_choices_teach_a_taste_and_more_of_them_teach_it_better(n, at_least):
    session = LabellingSession.new(n, seed=3)
    answer_all(session, Labeller.persona("friend", temperature=0.2), seed=0)
    taste = learn_taste(session)
    assert taste.choices == n
    fresh = LabellingSession.new(150, seed=50).questions
    judge = Labeller.persona("friend")
    gaps = torch.tensor([judge.utility(q.prompt, q.left) - judge.utility(q.prompt, q.right)
                         for q in fresh])
    found = taste.score([q.left for q in fresh]) - taste.score([q.right for q in fresh])
    clear = gaps.abs() > 0.5
    right = float(((found > 0) == (gaps > 0))[clear].double().mean())
    assert right > at_least
    if n == 200:
        assert taste.held_out_accuracy == pytest.approx(right, abs=0.12)
        assert taste.held_out_loss < 0.65


def test_a_coin_s_choices_are_not_foreseen_when_they_are_left_out():
    """In the fit itself thirty tossed choices are explained almost perfectly."""
    found = []
    for seed in range(6):
        session = LabellingSession.new(30, seed=seed)
        answer_all(session, Labeller(error_rate=1.0), seed)
        taste = learn_taste(session)
        fitted = [(taste.score([q.left]) > taste.score([q.right])).item() == (label == 1)
                  for q, label in session.judged()]
        found.append((sum(fitted) / 30, taste.held_out_accuracy))
    inside, outside = torch.tensor(found).mean(0).tolist()
    assert inside > 0.9 and 0.3 < outside < 0.65, found


def test_opposite_choices_teach_the_opposite_taste(friend):
    turned = {"left": "right", "right": "left"}
    contrary = LabellingSession(friend.questions, [turned[c] for c in friend.choices])
    answers = [q.left for q in friend.questions]
    ours, theirs = (learn_taste(s) for s in (friend, contrary))
    torch.testing.assert_close(ours.score(answers), -theirs.score(answers),
                               atol=1e-5, rtol=1e-5)
    assert ours.held_out_accuracy == pytest.approx(theirs.held_out_accuracy)


def test_best_and_worst_answers_are_those_of_the_highest_and_lowest_score(friend):
    taste = learn_taste(friend)
    prompt = sample_prompts(1, seed=9)[0]
    answers = crowd_answers(prompt, 6)
    ranked = taste.rank(answers)
    assert len(set(answers)) == len(answers) == 6 and {a for a, _ in ranked} == set(answers)
    assert [s for _, s in ranked] == sorted((s for _, s in ranked), reverse=True)
    words = taste.word_rewards(ranked[0][0])
    assert " ".join(word for word, _ in words) == ranked[0][0]
    assert sum(worth for _, worth in words) - taste.mean == pytest.approx(ranked[0][1])
    assert taste.word_rewards("zebra") == [("zebra", 0.0)]  # nobody judged it


def test_a_friend_s_thirty_choices_pick_friendlier_answers_than_the_crowd_s():
    """Over five sessions: the share of polite answers among the best of sixteen."""
    drawn = [crowd_answers(p, 16, seed=i) for i, p in enumerate(sample_prompts(30, 21, "heldout"))]

    def polite(answer):
        return answer.startswith(("sure", "of course", "happy to", "sorry"))

    shares = []
    for seed in range(5):
        session = LabellingSession.new(30, seed=seed)
        answer_all(session, Labeller.persona("friend"), seed)
        taste = learn_taste(session)
        shares.append(sum(polite(taste.rank(answers)[0][0]) for answers in drawn) / len(drawn))
    crowd = sum(polite(a) for answers in drawn for a in answers) / sum(map(len, drawn))
    assert crowd < 0.4 and sum(shares) / 5 > crowd + 0.25, (crowd, shares)


def test_the_fitter_of_the_widget_is_the_taste_of_the_choices_it_is_told(friend):
    prompts = sample_prompts(2, seed=9)
    answers = [crowd_answers(p, 4) for p in prompts]
    fit = taste_fitter(friend.questions, prompts, answers, penalty=10.0)
    mine = LabellingSession([friend.questions[i] for i in (2, 5, 6, 9, 11)],
                            ["left", "right", "tie", "right", "left"])
    found = fit([2, 5, 6, 9, 11], [1.0, 0.0, 0.5, 0.0, 1.0])
    taste = learn_taste(mine, penalty=10.0)
    assert f"{taste.held_out_accuracy:.0%}" in found["note"]
    for (text, tried, rewards), prompt, wanted in zip(found["tries"], prompts, answers,
                                                      strict=True):
        assert (text, tried) == (prompt.text, wanted)
        assert rewards == taste.score(wanted).tolist()


@pytest.mark.parametrize("name", ["friend", "guardian", "hurried"])
def test_many_choices_are_most_like_whose_they_are(name):
    session = LabellingSession.new(150, seed=4)
    answer_all(session, Labeller.persona(name, temperature=0.3), seed=1)
    found = likeness(session, temperature=0.3)
    assert next(iter(found)) == name and set(found) == set(PERSONAS)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_ties_and_skips_teach_nothing_by_themselves():
    session = LabellingSession.new(8)
    for choice in ("tie", "skip", "left", "right", "tie", "tie", "left"):
        session.choose(choice)
    with pytest.raises(InvalidArgumentError, match="3 choices between left and right are too few"):
        learn_taste(session)
    session.choose("right")
    assert learn_taste(session).choices == 7
    with pytest.raises(InvalidArgumentError, match="no choices between left and right yet"):
        likeness(LabellingSession.new(2))


def test_bad_input_is_refused_with_a_reason():
    with as_a_learner():
        with pytest.raises(InvalidArgumentError, match="'both'; expected one of left, right"):
            LabellingSession.new(2).choose("both")
        with pytest.raises(InvalidArgumentError, match="no questions"):
            LabellingSession([])


def test_the_friend_s_session_is_about_tone(friend):
    """What the fixture stands for: most choices went to the friendlier answer."""
    tones = [gold_parts(p.prompt, p.chosen).tone - gold_parts(p.prompt, p.rejected).tone
             for p in friend.preferences()]
    assert sum(t > 0 for t in tones) > 2 * sum(t < 0 for t in tones)
