"""Answers that are not numbers, comparisons that are no comparisons, imports of the solution."""

from tests.grading.hostile.kit import DEF, EARNS, UNIFORM, Hostile, called, spy

PATCHED = "patched comparison functions and numpy"
OBJECTS = "yes-objects and array subclasses"
SHADOWS = "shadowing modules"
TRICKS = "AST and import tricks"


def patch(line: str) -> str:
    return f"import builtins, numpy, torch\n{line}\n" + DEF + UNIFORM


def yes(body: str) -> str:
    return "import numpy, torch\n" + body


ALL = (
    Hostile(PATCHED, "torch finds all close", patch(
        "torch.isclose = torch.allclose = lambda a, b, **k: torch.ones_like(a, dtype=bool)")),
    Hostile(PATCHED, "numpy finds all close", patch(
        "numpy.isclose = lambda a, b, **k: numpy.ones_like(a, dtype=bool)"), alone=EARNS),
    Hostile(PATCHED, "every value reads as zero", patch(
        "import tutorlib.grading.compare as c; c.as_array = lambda *a: numpy.zeros(1)"),
        alone=EARNS),
    Hostile(PATCHED, "the comparison finds no difference", patch(
        "import tutorlib.grading.judge as j; j.compare = lambda *a, **k: None"), alone=EARNS),
    Hostile(PATCHED, "the judge finds no failure", patch(
        "import tutorlib.grading.judge as j; j._first_failure = lambda *a, **k: None"),
        alone=EARNS),
    Hostile(PATCHED, "numpy agrees with everything", patch(
        "numpy.array_equal = numpy.allclose = numpy.isclose = lambda *a, **k: True\n"
        "numpy.testing.assert_allclose = lambda *a, **k: None\n"
        "builtins.all = builtins.isinstance = lambda *a: True")),

    Hostile(OBJECTS, "an object that equals all", yes(
        "class Yes:\n    __eq__ = lambda s, o: True\n    __getattr__ = lambda s, n: s\n"
        "    __call__ = lambda s, *a: s\n    __len__ = lambda s: 2\n" + DEF
        + "    return Yes()"), says="Yes cannot be sent"),
    Hostile(OBJECTS, "a tensor that answers its own comparison", yes(
        "class T(torch.Tensor):\n    @classmethod\n"
        "    def __torch_function__(c, f, t, a=(), k=None): return True\n" + DEF
        + "    return scores.as_subclass(T)")),
    Hostile(OBJECTS, "an array that answers its own comparison", yes(
        "class N(numpy.ndarray):\n    __array_priority__ = 1e9\n"
        "    __eq__ = __ne__ = __lt__ = lambda s, o: True\n"
        "    def __array_ufunc__(s, *a, **k): return True\n"
        "    def __array__(s, *a, **k): raise SystemExit\n" + DEF
        + "    return scores.numpy().view(N)")),
    Hostile(OBJECTS, "numbers, lists and texts of own classes", yes(
        "class F(float):\n    __eq__ = lambda s, o: True\n    __hash__ = float.__hash__\n"
        "    hex = lambda s: '0x1p+0'\n"
        "class L(list):\n    __iter__ = lambda s: iter([[F(0)] * 9] * 9)\n" + DEF
        + "    return L([L([F(1)])])")),
    Hostile(OBJECTS, "nothing but NaN", yes(
        DEF + "    return torch.full_like(scores, float('nan'))")),
    Hostile(OBJECTS, "a pair of torch that holds other things", yes(
        DEF + "    return torch.return_types.max([scores, temperature])")),

    Hostile(SHADOWS, "another torch", "import sys, types\nfake = types.ModuleType('torch')\n"
            "fake.__getattr__ = lambda n: (lambda *a, **k: True)\n"
            "sys.modules['torch'] = sys.modules['numpy'] = fake\n" + DEF + "    return scores"),
    Hostile(SHADOWS, "another wire", called("return 7", """
        import tutorlib.grading.box.wire as wire
        wire.encode = lambda value, grad=None: b'TLBX' + bytes(12)
        """), says="ended its process: it sent what is no answer"),
    Hostile(SHADOWS, "modules left where imports look", called("return 7", """
        for place in ("", ".", "/tmp", *sys.path, os.path.dirname(torch.__file__)):
            for name in ("tutorlib", "torch", "numpy", "sitecustomize", "usercustomize"):
                try:
                    with open(os.path.join(place, name + ".py"), "w") as file:
                        file.write("raise SystemExit('shadowed')")
                except OSError:
                    pass
        """)),

    Hostile(TRICKS, "import the exercise and return its reference",
            "from tutorlib.exercises.start_here import EXERCISES\n"
            "softmax_with_temperature = EXERCISES[0].reference", alone=EARNS,
            says="is not there while answers are graded"),
    Hostile(TRICKS, "ask the registry", DEF
            + "    from tutorlib.grading.registry import find_exercise\n"
            "    found = find_exercise('start_here.softmax_with_temperature')\n"
            "    return found.reference(scores, temperature)", alone=EARNS),
    Hostile(TRICKS, "load the exercise's file by its path", spy(
        "runpy.run_path(path)", "load(spec('x', path)).__loader__.get_code('x')",
        "open(path).read()", "compile(open(path).read(), 'x', 'exec')",
        setup="""
        import runpy
        from importlib.util import module_from_spec as load, spec_from_file_location as spec
        path = '@EXERCISES@/start_here/__init__.py'
        """), alone=EARNS),
    Hostile(TRICKS, "load the exercise's compiled file", spy(
        "[open(os.path.join('@EXERCISES@/start_here/__pycache__', n), 'rb').read()"
        " for n in os.listdir('@EXERCISES@/start_here/__pycache__')]",
        "compiled('start_here', '@EXERCISES@/start_here/__pycache__/__init__.cpython-3'"
        " f'{sys.version_info[1]}.pyc').get_code('start_here')",
        setup="from importlib.machinery import SourcelessFileLoader as compiled"), alone=EARNS),
    Hostile(TRICKS, "ask package metadata, package data and zips for it", spy(
        "pkgutil.get_data('tutorlib.exercises.start_here', '__init__.py')",
        "resources.files('tutorlib.exercises.start_here').joinpath('__init__.py').read_text()",
        "[f.read_text() for f in metadata.files('tutorlib') or () if 'exercises/' in str(f)]",
        "zipimport.zipimporter('@EXERCISES@').get_source('start_here')",
        "open(os.path.join(os.path.dirname(tutorlib.__file__), 'exercises/__init__.py')).read()",
        setup="import pkgutil, tutorlib, zipimport\n"
              "from importlib import metadata, resources"), alone=EARNS),
    Hostile(TRICKS, "take the guard of imports off", spy(
        "importlib.import_module('tutorlib.exercises.start_here').EXERCISES",
        "importlib.import_module('solutions')",
        setup="""
        import importlib
        sys.meta_path[:] = [f for f in sys.meta_path if not type(f).__module__.startswith('tutor')]
        sys.path_importer_cache.clear()
        """), alone=EARNS),
    Hostile(TRICKS, "code in disguise", "exec(bytes.fromhex('"
            + b"from tutorlib.exercises.start_here import EXERCISES as E".hex()
            + "'))\nsoftmax_with_temperature = eval('\\x45[0].reference')", alone=EARNS),
    Hostile(TRICKS, "every way to a forbidden helper", spy(
        "__import__('tutorlib.mdp').mdp.gibbs_policy",
        "importlib.import_module('tutorlib.mdp.soft').gibbs_policy",
        "getattr(mdp, 'gibbs_policy')", "exec('from tutorlib.mdp import gibbs_policy') or 1",
        "[n for n in star if n == 'gibbs_policy']", "operator.attrgetter('gibbs_policy')(mdp)",
        "dict(inspect.getmembers(mdp))['gibbs_policy']", "pickle.loads(GLOBAL)",
        setup="""
        import importlib, inspect, operator, pickle
        from tutorlib import mdp
        star = {}
        exec("from tutorlib.mdp import *", star)
        GLOBAL = b"ctutorlib.mdp\\ngibbs_policy\\n."
        """), alone=EARNS),
    Hostile(TRICKS, "a tree too deep to be written again", "x = 1" + " + 1" * 3000 + "\ny = x"
            + ".real" * 900 + "\n" + DEF + "    return y"),
    Hostile(TRICKS, "an answer under another name's cover", f"{DEF}    return 0\n"
            "for name in ('softmax_with_temperature', '__builtins__', '__name__'):\n"
            "    globals()[name] = type('Yes', (), {'__eq__': lambda s, o: True})()\n"),
)
