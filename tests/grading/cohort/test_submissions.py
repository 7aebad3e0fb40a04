"""Who handed in what: names of folders and files, zips, and files that are not what they say."""

import io
import json
import os
import stat
import zipfile

import pytest

from tests.grading.cohort.conftest import RIGHT, code_cell, notebook
from tutorlib.errors import GradingError
from tutorlib.grading.cohort import sources, zips
from tutorlib.grading.cohort.entry import FILE_LIMIT, EntryError
from tutorlib.grading.cohort.names import clean_text, learner_of, safe_name, table_cell
from tutorlib.grading.cohort.submissions import gather, unit_in
from tutorlib.syllabus import UNITS

ANSWERED = notebook(RIGHT)


def zip_of(files, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def found(source, units=UNITS):
    return {(s.learner.id, s.unit): s for s in gather(source, units).submissions}


@pytest.mark.parametrize("label, expected", [
    ("alice", ("alice", "alice", False)),
    ("alice_06_maxent_irl", ("alice", "alice", False)),
    ("06_maxent_irl_alice", ("alice", "alice", False)),
    ("student-1", ("student-1", "student-1", False)),
    ("student_12", ("student_12", "student_12", False)),
    ("doejane_4711_9900_06_maxent_irl", ("4711", "doejane", False)),
    ("doejane_LATE_4711_9900_06_maxent_irl-2", ("4711", "doejane", True)),
    ("doejane_4711_9900_mallory_815_1_06_maxent_irl", ("4711", "doejane", False)),
    ("doejane_4711_9900_homework", ("4711", "doejane", False)),
    ("Jane Doe_815_assignsubmission_file_", ("815", "Jane Doe", False)),
    ("Jane Doe_815_assignsubmission_file_06_maxent_irl", ("815", "Jane Doe", False)),
    ("doejane_4711_9900_x_815_assignsubmission_file_", ("4711", "doejane", False)),
    ("submission_31337", ("31337", "submission_31337", False)),
])
def test_learners_are_read_off_the_names_that_platforms_give(label, expected):
    learner = learner_of(label)
    assert (learner.id, learner.name, learner.late) == expected


@pytest.mark.parametrize("layout", [
    ("anna.ipynb", "bert.ipynb"),
    ("anna/00_start_here.ipynb", "bert/00_start_here.ipynb"),
    ("anna/handed_in/homework.ipynb", "bert/homework.ipynb"),
])
@pytest.mark.parametrize("kind", ["folder", "zip", "zip of a folder"])
def test_a_notebook_or_a_folder_for_each_learner(tmp_path, layout, kind):
    files = {name: ANSWERED for name in layout}
    if kind == "folder":
        source = tmp_path / "in"
        for name, data in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
    else:
        prefix = "class 2/" if kind == "zip of a folder" else ""
        source = zip_of({prefix + k: v for k, v in files.items()}, tmp_path / "in.zip")
    assert set(found(source)) == {("anna", "00"), ("bert", "00")}
    assert all(s.read() == ANSWERED for s in found(source).values())


def test_a_learners_own_zip_counts_as_their_folder(tmp_path):
    zip_of({"00_start_here.ipynb": ANSWERED}, tmp_path / "anna.zip")
    (tmp_path / "bert.zip").write_bytes(b"PK\x03\x04 not really")
    submissions = found(tmp_path, UNITS[:1])
    assert submissions["anna", "00"].read() == ANSWERED
    assert "cannot be read" in submissions["bert", "00"].problem


def test_a_learners_own_zip_names_no_other_learner_and_no_earlier_date(tmp_path):
    early = zipfile.ZipInfo("bert/00_start_here.ipynb", (1999, 1, 1, 0, 0, 0))
    with zipfile.ZipFile(tmp_path / "anna.zip", "w") as archive:
        archive.writestr(early, ANSWERED)
        archive.writestr("carla/00_start_here.ipynb", ANSWERED)
        archive.writestr("dora/deep/00_start_here.ipynb", ANSWERED)
    [submission] = gather(tmp_path, UNITS[:1]).submissions
    assert submission.learner.id == "anna" and "3 notebooks" in submission.notes[0]
    assert submission.entry.modified[0] > 1999


def test_a_learners_zip_inside_the_platforms_zip_is_read_and_bounded(tmp_path, monkeypatch):
    own = zip_of({"my work/00_start_here.ipynb": ANSWERED}, tmp_path / "own.zip").read_bytes()
    source = zip_of({"liu_4711_9900_unit.zip": own, "roe_4712_9901_unit.zip": b"PK no zip"},
                    tmp_path / "in.zip")
    submissions = found(source, UNITS[:1])
    assert submissions["4711", "00"].read() == ANSWERED
    assert "cannot be read" in submissions["4712", "00"].problem
    twice = zip_of({"liu.zip": zip_of({"own.zip": own}, tmp_path / "b.zip").read_bytes()},
                   tmp_path / "twice.zip")
    assert gather(twice, UNITS).others == ("liu/own.zip",), "a zip in it is only named"
    monkeypatch.setattr(zips, "OWN_LIMIT", 100)
    assert "larger" in found(source, UNITS[:1])["4711", "00"].problem


class Unmarked(zipfile.ZipInfo):
    """A member whose name is written as bytes of code page 437, without the flag for UTF-8."""

    def _encodeFilenameFlags(self):
        return self.filename.encode("cp437"), self.flag_bits & ~0x800


@pytest.mark.parametrize("written", ["utf-8", "utf-8 without saying so", "another alphabet"])
def test_names_in_any_alphabet_come_out_of_a_zip_as_they_were(tmp_path, written):
    """Programs of macOS and Linux write UTF-8 into zips and do not set the flag for it."""
    name = "Zoe\u0308 王_815_assignsubmission_file_"  # the accent apart, as macOS writes names
    info = zipfile.ZipInfo(f"{name}/00_start_here.ipynb")
    if written == "utf-8 without saying so":
        info = Unmarked(info.filename.encode().decode("cp437"))
    if written == "another alphabet":
        info = Unmarked("Zo\u00eb \u2592_815_assignsubmission_file_/a.ipynb")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr(info, ANSWERED)
    [submission] = found(tmp_path / "in.zip").values()
    wanted = "Zo\u00eb \u2592" if written == "another alphabet" else "Zo\u00eb 王"
    assert (submission.learner.id, submission.learner.name) == ("815", wanted)
    assert submission.read() == ANSWERED


GRADESCOPE = """---
submission_31337:
  :submitters:
  - :name: Ada Doe
    :sid: '0815'
    :email: ada@example.org
  :created_at: 2030-10-14 21:59:00.123456789 Z
  :score: !ruby/object:BigDecimal 18:0.1e1
  :results: !ruby/hash:ActiveSupport::HashWithIndifferentAccess {tests: []}
submission_31338:
  :submitters:
  - :name: "=cmd()"
    :sid: ''
    :email: bert@example.org
  - :name: Carla
    :sid:
  :created_at: soon
submission_31339:
  :submitters:
  - :name: Dora
    :sid: 99
"""


@pytest.mark.parametrize("wrapper", ["", "assignment_7_export/"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_gradescopes_download_names_its_learners_and_their_times(tmp_path, kind, wrapper):
    files = {"submission_metadata.yml": GRADESCOPE.encode(),
             "submission_31337/mine.ipynb": ANSWERED, "submission_31337/older.ipynb": ANSWERED,
             "submission_31338/00_start_here.ipynb": ANSWERED, "submission_31339/a.txt": b"",
             "submission_5/00_start_here.ipynb": ANSWERED}
    source = zip_of({wrapper + name: data for name, data in files.items()}, tmp_path / "in.zip")
    if kind == "folder":
        zipfile.ZipFile(source).extractall(tmp_path / "in")
        source = tmp_path / "in"
    intake = gather(source, UNITS[:1])
    submissions = {s.learner.id: s for s in intake.submissions}
    assert set(submissions) == {"0815", "bert@example.org", "Carla", "5"}, "a group shares one"
    ada = submissions["0815"]
    assert ada.learner.name == "Ada Doe" and ada.read() == ANSWERED
    assert ada.submitted.isoformat() == "2030-10-14T21:59:00.123456+00:00"
    assert submissions["Carla"].submitted is None
    assert intake.others == ("submission_31339/a.txt",)


def test_one_submission_in_gradescopes_download_is_its_learners(tmp_path):
    files = {"submission_metadata.yml": GRADESCOPE.encode(),
             "submission_31337/submission_metadata.yml": b"the learner's own",
             "submission_31337/x.ipynb": ANSWERED, "submission_31337/y.ipynb": ANSWERED}
    files = {"assignment_7_export/" + name: data for name, data in files.items()}
    [submission] = gather(zip_of(files, tmp_path / "in.zip"), UNITS[:1]).submissions
    assert submission.learner.id == "0815" and "2 notebooks" in submission.notes[0]


@pytest.mark.parametrize("place", ["anna/", "anna/submission_31337/"])
def test_a_learner_cannot_hand_in_gradescopes_file(tmp_path, place):
    """Neither in a folder of their own nor in a zip of theirs, not even as the only learner."""
    files = {"anna/submission_31337/a.ipynb": ANSWERED, "bert/b.ipynb": ANSWERED,
             place + "submission_metadata.yml": GRADESCOPE.encode()}
    assert set(found(zip_of(files, tmp_path / "in.zip"), UNITS[:1])) == {
        ("anna", "00"), ("bert", "00")}
    own = {name.removeprefix("anna/"): data for name, data in files.items() if "anna" in name}
    (tmp_path / "zips").mkdir()
    zip_of(own, tmp_path / "zips" / "anna.zip")
    assert set(found(tmp_path / "zips", UNITS[:1])) == {("anna", "00")}
    alone = {"anna/" + name: data for name, data in own.items()}
    assert set(found(zip_of(alone, tmp_path / "alone.zip"), UNITS[:1])) == {("anna", "00")}


@pytest.mark.parametrize("content", [
    b"submission_1: [", b"\xff", b"- a list", b"submission_1: {}",
    b"submission_1:\n  :submitters: 7", b"submission_1:\n  :submitters:\n  - :name: ''",
    b"? [a]\n: 1\n" + b"[" * 5000,
    b"submission_1: !!python/object/apply:os.system ['touch /tmp/was-run']"])
def test_a_broken_file_of_gradescopes_is_refused_with_what_to_do(tmp_path, content):
    files = {"submission_metadata.yml": content, "submission_1/00_start_here.ipynb": ANSWERED}
    with pytest.raises(GradingError, match="take it away"):
        gather(zip_of(files, tmp_path / "in.zip"), UNITS[:1])


def test_who_handed_in_no_notebook_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    files = {"anna.ipynb": ANSWERED, "anna.pdf": b"x", "bert_4711_9900_essay.docx": b"x",
             "carla/report.html": b"x", "dora/00_start_here.ipynb": ANSWERED, "dora/data.csv": b"x"}
    for name, data in files.items():
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    for source in (tmp_path / "in", zip_of(files, tmp_path / "in.zip")):
        intake = gather(source, UNITS)
        assert [s.learner.id for s in intake.submissions] == ["anna", "dora"]
        assert intake.others == ("bert_4711_9900_essay.docx", "carla/report.html")


def test_checkpoints_and_other_files_are_left_alone(tmp_path):
    (tmp_path / "anna/.ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / "anna/.ipynb_checkpoints/00_start_here-checkpoint.ipynb").write_bytes(ANSWERED)
    (tmp_path / "anna/notes.txt").write_text("hello")
    (tmp_path / "anna/00_start_here.ipynb").write_bytes(ANSWERED)
    assert len(found(tmp_path)) == 1


def test_of_two_notebooks_for_one_unit_the_worksheets_name_counts_and_it_is_said(tmp_path):
    (tmp_path / "anna").mkdir()
    for name in ("00_start_here.ipynb", "00_start_here-Copy1.ipynb", "zz.ipynb"):
        (tmp_path / "anna" / name).write_bytes(ANSWERED)
    submission = found(tmp_path)["anna", "00"]
    assert submission.path == "anna/00_start_here.ipynb"
    assert "zz.ipynb" in submission.notes[0] and "counts" in submission.notes[0]


def test_the_unit_is_found_by_metadata_then_marks_then_name(tmp_path):
    assert unit_in(ANSWERED) == "00"
    marked = json.dumps({"cells": [code_cell("# exercise: maxent_irl.debug\nx = 1")]}).encode()
    assert unit_in(marked) == "06"
    (tmp_path / "anna_04_imitation_learning.ipynb").write_bytes(b"{}")
    (tmp_path / "bert.ipynb").write_bytes(b"{}")
    submissions = found(tmp_path)
    assert ("anna", "04") in submissions
    assert "which unit" in submissions["bert", ""].problem
    assert ("bert", "00") in found(tmp_path, UNITS[:1]), "when only one unit is asked for"
    bare = json.dumps({"cells": [code_cell("x = 1\ndef soft_backup_finite(a):\n    pass"),
                                 code_cell(["def visitation(a):\n", "    pass"])]}).encode()
    (tmp_path / "carla.ipynb").write_bytes(bare)
    assert ("carla", "06") in found(tmp_path), "by the names of the answers"


def test_units_that_were_not_asked_for_are_named(tmp_path):
    (tmp_path / "anna.ipynb").write_bytes(ANSWERED)
    (tmp_path / "bert.ipynb").write_bytes(notebook(unit="06"))
    intake = gather(tmp_path, UNITS[:1])
    assert len(intake.submissions) == 1 and intake.left_out == ("bert.ipynb",)


def test_links_are_not_followed(tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(ANSWERED)
    source = tmp_path / "in"
    (source / "bert").mkdir(parents=True)
    os.symlink(secret, source / "anna.ipynb")
    os.symlink(tmp_path, source / "carla")
    os.symlink(secret, source / "bert" / "00_start_here.ipynb")
    submissions = found(source, UNITS[:1])
    assert set(submissions) == {("anna", "00"), ("bert", "00"), ("carla", "00")}
    assert all("link" in s.problem for s in submissions.values())


def test_a_link_put_in_place_after_the_look_is_not_followed(tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "anna.ipynb"
    path.write_bytes(ANSWERED)
    [submission] = gather(tmp_path / "in", UNITS).submissions
    path.rename(tmp_path / "elsewhere.ipynb")
    os.symlink(tmp_path / "elsewhere.ipynb", path)
    with pytest.raises(EntryError, match="cannot be read"):
        submission.read()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "anna.ipynb")
    assert "not an ordinary file" in found(tmp_path, UNITS[:1])["anna", "00"].problem


@pytest.mark.parametrize("name", ["../anna/x.ipynb", "anna/../../x.ipynb", "/anna/x.ipynb",
                                  "C:/anna/x.ipynb", "..\\..\\anna\\x.ipynb"])
def test_a_path_out_of_a_zip_is_refused(tmp_path, name):
    source = zip_of({name: ANSWERED, "bert/x.ipynb": ANSWERED}, tmp_path / "in.zip")
    submissions = found(source, UNITS[:1])
    assert submissions.pop(("bert", "00")).problem == ""
    [bad] = submissions.values()
    assert "outside" in bad.problem and ".." not in bad.path
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in.zip"], "nothing is unpacked"


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("anna/00_start_here.ipynb")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    source = zip_of({}, tmp_path / "in.zip")
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "link" in found(source, UNITS[:1])["anna", "00"].problem


def test_a_bomb_is_neither_unpacked_nor_believed(tmp_path, monkeypatch):
    bomb = b"0" * (FILE_LIMIT + 10)
    source = zip_of({"anna/x.ipynb": bomb, "bert/x.ipynb": ANSWERED}, tmp_path / "in.zip")
    assert source.stat().st_size < 100_000
    submissions = found(source, UNITS[:1])
    assert "larger than" in submissions["anna", "00"].problem
    assert submissions["bert", "00"].problem == ""
    lying = source.read_bytes().replace(len(bomb).to_bytes(4, "little"),
                                        (100).to_bytes(4, "little"))
    source.write_bytes(lying)
    problem = found(source, UNITS[:1])["anna", "00"].problem
    assert "larger than" in problem or "unpacked" in problem
    monkeypatch.setattr(zips, "TOTAL_LIMIT", 10)
    assert all("too much" in s.problem or "larger" in s.problem
               for s in found(source, UNITS[:1]).values())


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    source = zip_of({f"{i}.ipynb": b"{}" for i in range(5)}, tmp_path / "in.zip")
    for module in (sources, zips):
        monkeypatch.setattr(module, "COUNT_LIMIT", 4)
    with pytest.raises(GradingError, match="more than 4"):
        gather(source, UNITS)
    (tmp_path / "in").mkdir()
    for i in range(5):
        (tmp_path / "in" / f"{i}.ipynb").write_bytes(b"{}")
    with pytest.raises(GradingError, match="more than 4"):
        gather(tmp_path / "in", UNITS)


def test_a_learners_own_zip_may_hold_less(tmp_path, monkeypatch):
    """Fifty thousand entries, each of them read, would take hours."""
    zip_of({f"{i}.ipynb": b"{}" for i in range(6)}, tmp_path / "anna.zip")
    monkeypatch.setattr(zips, "OWN_COUNT", 5)
    assert "more than 5 entries" in found(tmp_path, UNITS[:1])["anna", "00"].problem
    monkeypatch.setattr(sources, "OWN_LIMIT", 100)
    assert "larger than" in found(tmp_path, UNITS[:1])["anna", "00"].problem


def test_a_zip_of_many_is_opened_once(tmp_path, monkeypatch):
    source = zip_of({f"{i}.ipynb": ANSWERED for i in range(9)}, tmp_path / "in.zip")
    opened, real = [], zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda path: opened.append(path) or real(path))
    assert len(found(source, UNITS[:1])) == 9 and len(opened) == 1


def test_an_encrypted_or_damaged_member_is_explained(tmp_path):
    source = zip_of({"anna.ipynb": ANSWERED}, tmp_path / "in.zip")
    data = bytearray(source.read_bytes())
    data[60:70] = b"\xff" * 10
    source.write_bytes(bytes(data))
    assert "unpacked" in found(source, UNITS[:1])["anna", "00"].problem
    stream = io.BytesIO(zip_of({"anna.ipynb": ANSWERED}, tmp_path / "b.zip").read_bytes())
    locked = bytearray(stream.getvalue())
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        place = locked.index(mark) + (6 if mark[2] == 3 else 8)
        locked[place] |= 1
    (tmp_path / "b.zip").write_bytes(bytes(locked))
    assert "unpacked" in found(tmp_path / "b.zip", UNITS[:1])["anna", "00"].problem


def test_a_source_that_is_neither_is_refused(tmp_path):
    with pytest.raises(GradingError, match="neither a folder nor a zip"):
        gather(tmp_path / "missing", UNITS)


def test_file_names_stay_apart_and_inside(tmp_path):
    names = ["anna", "Anna", "ANNA", "../anna", "/anna", "anna\x00", "", ".", "..", "con", "aña",
             "a" * 300, "a" * 301, "<script>", "=1+1"]
    made = [safe_name(name) for name in names]
    assert len({name.lower() for name in made}) == len(names)
    for name in made:
        (tmp_path / f"{name}.00.json").write_text("x")
    assert len(list(tmp_path.iterdir())) == len(names)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "\n=1"])
def test_no_text_becomes_a_formula(text):
    assert table_cell(text).startswith("'")
    assert table_cell(-1.5) == "-1.5" and table_cell("anna") == "anna"


def test_text_is_cleaned_and_cut():
    assert clean_text("\u202eabc\ud800\x1b[0m", 99) == "abc?[0m"
    assert clean_text("x" * 50, 10) == "x" * 10 + "... (40 more characters)"
