"""Who accepts gzip, by the words of RFC 9110; over HTTP it is tried in tests/e2e/test_contract.py."""

import gzip

import pytest

from bento.edge.compression import accepts_gzip, compressed


@pytest.mark.parametrize(
    ("lines", "accepts"),
    [
        ([], False),
        ([b"gzip"], True),
        ([b"deflate", b"gzip"], True),
        ([b"gzip;q=0.001"], True),
        ([b"gzip;q=0.000"], False),
        ([b"gzip; q = 0"], False),
        ([b"gzip;level=9;q=0"], False),
        ([b"x-gzippy"], False),
        ([b"*;q=0.2, identity;q=0.1"], True),
        ([b"*;q=0.2, identity;q=0.3"], False),
        ([b",,;,gzip,"], True),
        ([b"gzip;q=nan"], False),
        ([b"\xff\xfe"], False),
    ],
)
def test_gzip_is_taken_where_it_is_wanted_at_all_and_no_less_than_a_plain_answer(
    lines: list[bytes], accepts: bool
) -> None:
    assert accepts_gzip([(b"accept", b"gzip"), *((b"accept-encoding", line) for line in lines)]) is accepts


def test_what_is_compressed_is_the_body_and_the_same_each_time() -> None:
    body = b'{"restaurants": []}' * 1_000
    assert gzip.decompress(compressed(body)) == body
    assert compressed(body) == compressed(body)
