"""Reading ahead, within a chunk and into the next."""

from concurrent.futures import ThreadPoolExecutor

from timesformer.jobs.decode import DecodeAhead
from timesformer.jobs.item import Failure, Item


def items(*names):
    return [Item(path=name) for name in names]


class Reader:
    """Reads nothing, in a pool of one thread, and lists what it was asked for."""

    def __init__(self, pool, *, num_ahead):
        self.paths = []
        self.pool = pool
        self.ahead = DecodeAhead(self._read, pool, num_ahead=num_ahead)

    def _read(self, item, number):
        self.paths.append(item.path)
        return Failure(reason=item.path)

    def read(self, chunk, upcoming=()):
        return "".join(found.reason for found in self.ahead(chunk, upcoming))

    def wait(self):
        self.pool.submit(lambda: None).result()


def test_videos_come_in_order_and_each_is_read_once():
    with ThreadPoolExecutor(1) as pool:
        reader = Reader(pool, num_ahead=3)
        assert reader.read(items(*"abcde"), items(*"fghij")) == "abcde"
        assert reader.read(items(*"fghij")) == "fghij"
        reader.wait()
    assert reader.paths == [*"abcdefghij"]


def test_no_more_than_a_few_videos_are_read_in_advance():
    with ThreadPoolExecutor(1) as pool:
        reader = Reader(pool, num_ahead=3)
        found = reader.ahead(items(*"abcde"), items(*"fgh"))
        assert next(found).reason == "a"
        reader.wait()
        assert reader.paths == [*"abc"]
        assert "".join(each.reason for each in found) == "bcde"
        reader.wait()
        assert reader.paths == [*"abcdefg"]


def test_videos_of_a_chunk_that_does_not_come_are_forgotten():
    with ThreadPoolExecutor(1) as pool:
        reader = Reader(pool, num_ahead=4)
        assert reader.read(items("a"), items(*"xyz")) == "a"
        assert reader.read(items(*"bc")) == "bc"
        assert reader.read(items(*"zb"), items("c")) == "zb"


def test_waiting_is_measured():
    with ThreadPoolExecutor(1) as pool:
        reader = Reader(pool, num_ahead=1)
        assert reader.ahead.waited_s == 0.0
        reader.read(items("a"))
        assert reader.ahead.waited_s > 0.0
