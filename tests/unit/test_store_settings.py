"""A password in a file of its own: where the address gets it from, what is refused, and that nothing repeats it."""

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from db.access.address import for_service, shown
from db.settings import StoreSettings, store_address, store_dsn
from hexbite.errors import SettingsError, StoreError

ADDRESS = "postgresql://ann@db:5432/store"


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATABASE_URL", ADDRESS)
    monkeypatch.setenv("DATABASE_PASSWORD_FILE", str(tmp_path / "secret"))
    return tmp_path / "secret"


@pytest.mark.parametrize("password", ["plain", "a b", "#?&=/@:%41", "ümlaut", "'\"\\", " spaces around "])
@pytest.mark.parametrize("address", [ADDRESS, f"{ADDRESS}?sslmode=disable", f"{ADDRESS}?", "postgres://db?user=ann"])
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_whatever_the_password_is_both_drivers_get_it_whole_and_no_shown_address_has_it(
    secret: Path, monkeypatch: pytest.MonkeyPatch, password: str, address: str, ending: str
) -> None:
    secret.write_bytes((password + ending).encode())
    monkeypatch.setenv("DATABASE_URL", address)
    dsn = store_dsn(StoreSettings())
    assert conninfo_to_dict(dsn) == conninfo_to_dict(address) | {"password": password}
    assert for_service(dsn)["password"] == password
    assert conninfo_to_dict(shown(dsn)) == conninfo_to_dict(address)
    assert store_address(StoreSettings()) == address


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "file that can be read: No such file"),
        (b"", "empty file"),
        (b"\n", "empty file"),
        (b"hunter2\nhunter3\n", "not one line of text"),
        (b"hunter2\0", "not one line of text"),
        (b"hunter\xff2", "no text"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_that_repeats_neither_its_name_nor_what_it_holds(
    secret: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(StoreError, match=said) as caught:
        store_dsn(StoreSettings())
    assert str(caught.value).startswith("DATABASE_PASSWORD_FILE")
    assert "hunter" not in repr(caught.value) and str(secret) not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_the_password_itself_in_place_of_its_file_is_not_repeated(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("hunter2", "hunter2" * 100):
        monkeypatch.setenv("DATABASE_PASSWORD_FILE", value)
        with pytest.raises(StoreError) as caught:
            store_dsn(StoreSettings())
        assert "hunter" not in str(caught.value)


def test_two_passwords_or_one_without_an_address_are_refused(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret.write_text("hunter2")
    for address in ("postgresql://ann:other@db/store", "postgresql://db/store?user=ann&password=other"):
        monkeypatch.setenv("DATABASE_URL", address)
        with pytest.raises(StoreError, match="set one of them") as caught:
            store_dsn(StoreSettings())
        assert "other" not in str(caught.value).replace("another", "")
    # Never the embedded server in place of the one that was meant.
    monkeypatch.delenv("DATABASE_URL")
    for use in (store_dsn, store_address):
        with pytest.raises(StoreError, match="DATABASE_URL, the address that it is for, is not"):
            use(StoreSettings())


@pytest.mark.parametrize("name", ["pg_own", "a\nb", "ü", "a" * 64, "$user", "information_schema"])
def test_a_name_that_no_schema_can_have_is_refused_in_a_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEXBITE_STORE_SCHEMA", name)
    with pytest.raises(SettingsError, match=r"^HEXBITE_STORE_SCHEMA must be a schema's name"):
        StoreSettings.from_environment()
    monkeypatch.setenv("HEXBITE_STORE_SCHEMA", "")
    assert StoreSettings.from_environment().store_schema == "hexbite"
