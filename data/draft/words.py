"""Words by which columns, files and kinds of events are known, and texts by what they look like."""

from __future__ import annotations

import re
from typing import Final

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD: Final = re.compile(r"[^\W\d_]+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LATITUDE: Final = _words(
    """
    lat lats latitude latitud latitudine breite breitengrad geolat szerokość enlem широта 緯度 纬度 위도 y
    """
)
LONGITUDE: Final = _words(
    """
    lng lngs lon long longitude longitud longitudine länge laenge längengrad laengengrad geolng geolon długość
    boylam долгота 経度 经度 경도 x
    """
)
USER: Final = _words(
    """
    user users uid customer customers cust client clients member members account accounts person persons
    people guest consumer consumers buyer diner diners subscriber visitor visitors device kunde kunden nutzer
    benutzer cliente clientes usuario usuarios utente utenti gast
    """
)
RESTAURANT: Final = _words(
    """
    restaurant restaurants rest merchant merchants venue venues store stores shop shops place places poi pois
    vendor vendors business businesses partner partners location locations outlet outlets item items listing
    listings spot branch branches restaurante restaurantes lokal lokale ristorante ristoranti filiale filialen
    """
)
EVENTS: Final = _words(
    """
    event events log logs order orders click clicks impression impressions interaction interactions checkin
    checkins visit visits action actions booking bookings transaction transactions history bestellungen
    session sessions rating ratings review reviews
    """
)
TIME: Final = _words(
    """
    ts time timestamp datetime date at created occurred when zeit zeitpunkt datum uhrzeit fecha hora data ora
    utc
    """
)
# When a row was written or came in, which is later than when it happened.
LATER: Final = _words(
    "received ingested loaded processed inserted updated deleted modified collected synced exported dt"
)
LIST: Final = _words("request requests search session list query page slate feed impression serp anfrage suche")
POSITION: Final = _words("rank position pos slot index place rang platz posicion")
CHOSEN: Final = _words(
    """
    clicked click ordered chosen selected converted conversion purchased booked label target visited bought
    """
)
RATING: Final = _words(
    "rating ratings rate score stars star liked bewertung sterne puntuación calificación valoración nota voto avaliação"
)
# Where a person was, who is not named: start_lat, delivery_lat. What is picked up lies at the restaurant.
STANDING: Final = _words("start origin from home current delivery dropoff gps device")
# Names of columns that hold what happened, without a look at the values.
HAPPENED: Final = _words("event action activity verb ereignis")
KIND: Final = _words("kind type event action activity verb status typ ereignis tipo name")

_PERSONAL: Final = _words(
    """
    email mail phone telephone mobile firstname lastname surname fullname username birthday note notes comment comments
    remark remarks notiz notizen nota notas nombre apellido nachname vorname telefon telefono
    """
)
_NAMES: Final = _words("name first last full given family middle user customer display nick")
_ADDRESS: Final = _words("address street adresse direccion strasse iban")
_HOURS: Final = _words("hours opening öffnungszeiten horario horarios")

# What is written as one word often: userid, homelat.
_ENDS: Final = ("latitude", "longitude", "lat", "lng", "lon", "id", "type", "time")
_STEMS: Final = USER | RESTAURANT | LIST | {"order", "event", "geo", "home", "pickup", "delivery", "dest", "gps"}

# Parts of words that say what a kind of event is, the strongest choice first.
_CHOICES: Final = (
    ("order", "purchas", "buy", "bought", "paid", "payment", "transaction", "bestell", "kauf", "pedido"),
    ("checkout",),
    ("book", "reserv", "visit", "checkin", "check-in", "check_in", "convert", "conversion"),
    ("click", "tap", "select", "open", "choose", "chosen", "klick", "clic"),
)
_SHOWINGS: Final = ("impression", "show", "seen", "display", "expos", "view", "list", "rendered", "anzeige", "gesehen")
_UNDONE: Final = ("cancel", "refund", "unlike", "remove", "storn", "fail", "abort", "return")


def name_to_words(name: str) -> set[str]:
    """``userLat_1`` and ``userlat`` to ``user`` and ``lat``; letters of any script."""
    return {part for word in _WORD.findall(_CAMEL.sub(" ", name).lower()) for part in _parts(word)}


def _parts(word: str) -> tuple[str, ...]:
    for end in _ENDS:
        stem = word.removesuffix(end)
        if stem != word and stem in _STEMS:
            return stem, end
    return (word,)


def choice_rank(kind: str) -> int | None:
    """How strongly a kind of event says that something was chosen, 0 the strongest; None where it does not."""
    lower = kind.lower()
    if any(part in lower for part in _UNDONE):
        return None
    return next((rank for rank, parts in enumerate(_CHOICES) if any(part in lower for part in parts)), None)


def is_event(kind: str) -> bool:
    """Whether a value reads as something that happens."""
    lower = kind.lower()
    return choice_rank(kind) is not None or any(part in lower for part in (*_SHOWINGS, *_UNDONE))


def is_showing(kind: str) -> bool:
    """Whether a kind of event says that something was shown."""
    lower = kind.lower()
    return choice_rank(kind) is None and any(part in lower for part in _SHOWINGS)


def is_personal(name: str, *, of_person: bool) -> bool:
    """Whether a column's name says that its values tell who somebody is, or are written by hand."""
    found = name_to_words(name)
    if found & _PERSONAL:
        return True
    return of_person and bool(found & _ADDRESS or ("name" in found and found <= _NAMES | USER))


def is_hours(name: str) -> bool:
    """Whether a column's name says opening hours."""
    return bool(name_to_words(name) & _HOURS)


_VALUE: Final = re.compile(r"[-+]?\d+([.,]\d+)?([eE][-+]?\d+)?|\d{4}-\d{2}-\d{2}.*|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}")


def is_value(name: str) -> bool:
    """Whether the name of a column looks like a value: its file has no header."""
    return bool(_VALUE.fullmatch(name.strip()))
