"""Saying on the wire what was not asked, and abusing what is asked back."""

from tests.grading.hostile.kit import DEF, Hostile, called

FORGED, TRUNCATED = "forged frames", "truncated frames"
OVERSIZED, FUZZED, PICKLES = "oversized frames", "fuzzed frames", "pickles"
BACK = "the wire's way back into the grader"
NO_ANSWER = "ended its process: it sent what is no answer"

CHANNEL = """
import gc, json, os, struct, time
channel = next(o for o in gc.get_objects() if type(o).__name__ == '_Channel')
def raw(data):
    os.write(channel._replies, data)
def frame(tree, **about):
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    head = {'magic': b'TLBX\\x01\\0\\0\\0', 'text': len(text), 'buffers': 0, **about}
    raw(struct.pack('<8sII', head['magic'], head['text'], head['buffers']) + text)
"""


def talker(body: str) -> str:
    return called(body, CHANNEL)


ALL = (
    Hostile(FORGED, "replies to the questions to come", talker("""
        for number in range(60):
            channel.send({'id': number, 'kind': 'value', 'value': torch.tensor([[.5, .5]] * 2)})
        """), says=NO_ANSWER),
    Hostile(FORGED, "another kind of reply", talker("""
        frame(['d', [['id', 3], ['kind', 'passed'], ['value', True], ['points', 99]]])
        """), says=NO_ANSWER),
    Hostile(FORGED, "an error of a name that the grader calls", talker("""
        os.write(1, b'x')
        channel.send({'id': 3, 'kind': 'raised', 'error': '__import__', 'args': ['os'],
                      'words': 7, 'lines': ['x'] * 9})
        """)),
    Hostile(FORGED, "errors that end an iteration or pass for a stub", DEF
            + "    raise (StopIteration if scores.numel() > 4 else NotImplementedError)()\n"),
    Hostile(FORGED, "calls of what was not given", talker("""
        for number in (0, -1, 10**9, '__class__', None):
            channel.send({'kind': 'callback', 'number': number, 'args': ['id'], 'kwargs': {}})
        """), says=NO_ANSWER),
    Hostile(TRUNCATED, "half a header, then the end", talker("""
        raw(b'TLBX\\x01\\0')
        os._exit(0)
        """), says="ended its process"),
    Hostile(TRUNCATED, "a buffer that never comes", talker("""
        frame(['T', 'float64', [4], None], buffers=1)
        raw(struct.pack('<Q', 32) + b'x' * 8)
        os.close(channel._replies)
        """), says="ended its process"),
    Hostile(OVERSIZED, "four gigabytes of text", talker("frame(b'[', text=2**32 - 1)"),
            says=NO_ANSWER),
    Hostile(OVERSIZED, "more buffers than there are", talker("frame(b'[', buffers=2**32 - 1)"),
            says=NO_ANSWER),
    Hostile(OVERSIZED, "a tree of a million nodes", talker(
        "frame(b'[' + b'[],' * 1_000_000 + b'[]]')"), says=NO_ANSWER),
    Hostile(OVERSIZED, "a shape beyond all numbers", talker("""
        frame(['T', 'float64', [2**62, 2**62], None], buffers=1)
        raw(struct.pack('<Q', 0))
        """), says=NO_ANSWER),
    Hostile(OVERSIZED, "nested a thousand deep", talker(
        "frame(b'[\"l\",[' * 1000 + b']]' * 1000)"), says=NO_ANSWER),
    Hostile(FUZZED, "noise into every descriptor", called("""
        for handle in range(3, 64):
            for _ in range(20):
                try:
                    os.write(handle, random.randbytes(random.randrange(400)))
                except OSError:
                    break
        """, "import random"), says=NO_ANSWER),
    Hostile(FUZZED, "a right reply with a bit turned", called("""
        data = bytearray(wire.encode({'id': 3, 'kind': 'value', 'value': scores}))
        data[random.randrange(8, 60)] ^= 1 << random.randrange(8)
        os.write(channel._replies, bytes(data))
        """, CHANNEL + "import random\nimport tutorlib.grading.box.wire as wire\n"),
            says="answer|type|wrong|process|limit"),

    Hostile(PICKLES, "a pickle that runs a program", called("""
        class P:
            def __reduce__(self):
                return (os.system, ('touch @OUT@/@MARK@ /tmp/@MARK@ /var/tmp/@MARK@',))
        return pickle.dumps(P())
        """, "import pickle"), says="bytes cannot be sent"),
    Hostile(PICKLES, "a pickle in place of a frame", called("""
        class P:
            def __reduce__(self):
                return (os.system, ('touch @OUT@/@MARK@ /tmp/@MARK@ /var/tmp/@MARK@',))
        raw(pickle.dumps(P()))
        """, CHANNEL + "import pickle\n"), says=NO_ANSWER),
    Hostile(PICKLES, "an array of objects", DEF + """
    import numpy
    class P:
        def __reduce__(self):
            return (print, ('@MARK@',))
        __eq__ = lambda s, o: True
    return numpy.array([[P(), P()], [P(), P()]], dtype=object)
""", says="array of type object cannot be sent"),

    Hostile(BACK, "changes of arguments that were not made", talker("""
        channel.send({'id': 3, 'kind': 'value', 'value': scores, 'changed': [
            (0, torch.zeros(7)), (1, 'text'), (9, scores), ('x', {}), ((), [])]})
        """)),
    Hostile(BACK, "gradients that were not asked for", talker("""
        return (scores.clone().requires_grad_() * float('nan')).sum()
        """)),
    Hostile(BACK, "a value without end", talker("""
        x = []
        for _ in range(40):
            x = [x, x]
        return x
        """), says="nested more than|too many parts"),
)
