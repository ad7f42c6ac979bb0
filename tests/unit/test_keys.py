"""Who has one of the keys is let in, and nobody else."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from bento.edge.keys import ApiKeys, new_key
from bento.settings import Settings

# What may stand in a header's value, less what is trimmed at its ends.
visible = st.binary(min_size=1, max_size=60).filter(lambda key: key == key.strip())


def digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


@given(st.lists(visible, min_size=1, max_size=4, unique=True))
def test_each_key_is_admitted_and_its_digest_is_no_key(keys: list[bytes]) -> None:
    door = ApiKeys(tuple(digest(key) for key in keys))
    assert door
    for key in keys:
        assert door.admit(b"Bearer " + key)
        assert not door.admit(b"Bearer " + digest(key).encode())
        assert not door.admit(key)


@given(keys=st.lists(visible, max_size=3), authorization=st.binary(max_size=80))
def test_whatever_else_a_header_says_is_not_admitted(keys: list[bytes], authorization: bytes) -> None:
    door = ApiKeys(tuple(digest(key) for key in keys))
    carried = authorization[len(b"Bearer ") :].strip() if authorization.lower().startswith(b"bearer ") else None
    assert door.admit(authorization) is (carried in keys)


def test_the_scheme_is_bearer_in_any_case_and_spaces_around_a_key_do_not_count() -> None:
    door = ApiKeys((digest(b"key"),))
    for authorization in (b"Bearer key", b"bearer key", b"BEARER key", b"Bearer   key  "):
        assert door.admit(authorization)
    for authorization in (b"", b"Bearer", b"Bearer ", b"Basic key", b"Bearerkey", b"Bearer k ey", b"Bearer key,key"):
        assert not door.admit(authorization)


def test_without_keys_there_is_no_door_and_nobody_has_a_key_to_it() -> None:
    door = ApiKeys(())
    assert not door
    assert not door.admit(b"Bearer ")


def test_a_new_key_is_another_each_time_and_opens_what_its_digest_configures() -> None:
    made = [new_key() for _ in range(50)]
    assert len({key for key, _ in made}) == len({digest for _, digest in made}) == 50
    for key, told in made:
        assert len(key) >= len("hexbite_") + 43  # 256 bits
        assert Settings(api_keys=told).api_keys == (told,)
        assert ApiKeys((told,)).admit(f"Bearer {key}".encode())
