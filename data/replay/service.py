"""A service that is asked and told over HTTP, and what it says where it cannot go on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

import httpx

from hexbite.errors import ReplayError

#: Restaurants that are asked for: the most that the contract allows.
SIZE: Final = 1_000

#: Events told at once, the most that the contract allows.
MOST_EVENTS: Final = 1_000

# How long an answer may take, how often and after what pause what was not taken is told again, and how many questions
# in a row may go without an answer.
_TIMEOUT_S: Final = 30.0
_TRIES: Final = 20
_PAUSE_S: Final = 1.0
_MOST_UNANSWERED: Final = 20

_AGAIN: Final = frozenset({429, 503, 504})

# Why an event is refused by its time, and the setting that would take it.
_BOUNDS: Final = {
    "too_late": "HEXBITE_MAX_EVENT_AGE_S=none takes events of any age",
    "in_the_future": "HEXBITE_MAX_EVENT_AHEAD_S is how far events may be ahead of the service's clock",
    "before_retention": "python -m db expire dropped the events of that time; replay into a store that has them",
}


class Answer(NamedTuple):
    """The ids of an answer, best first, as text; whether not all in reach were scored; with ``meta`` where asked."""

    ids: list[str]
    is_truncated: bool
    document: dict[str, Any]


class Service:
    """Keeps one connection, so that what is told and what is asked next come in order; and how long each answer took.

    ``failed`` counts what was asked and not answered, by the reason.
    """

    def __init__(self, url: str, *, key: str | None = None, event_key: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._keys = {"/recommend": key, "/events": event_key}
        try:
            self._client = httpx.Client(base_url=self._url, timeout=_TIMEOUT_S)
        except (httpx.InvalidURL, ValueError) as error:
            raise ReplayError(f"{url} is no address of a service: {error}") from error
        self.asked_s: list[float] = []
        self.told_s: list[float] = []
        self.failed: Counter[str] = Counter()
        self._unanswered = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def check(self) -> None:
        """Raise ReplayError where nothing answers at the address, or where what does is not ready."""
        try:
            answer = self._client.get("/readyz")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ReplayError(f"no service answers at {self._url} ({_said(error)}); start it: bentoml serve") from error
        if answer.status_code != httpx.codes.OK:
            raise ReplayError(f"the service at {self._url} is not ready ({_message(answer)}); its log says why")

    def ask(self, body: dict[str, Any]) -> Answer | None:
        """What ``/recommend`` answers; None where it does not, as a busy one may not.

        Raises ReplayError where a request is refused, or where too many in a row go without an answer.
        """
        started = time.monotonic()
        try:
            answer = self._post("/recommend", body)
        except httpx.HTTPError as error:
            self._count_unanswered(_said(error))
            return None
        if answer.status_code in _AGAIN and _code(answer) != "misconfigured":
            self._count_unanswered(f"{answer.status_code} {_code(answer)}")
            return None
        self._require_ok(answer, "/recommend", "--key")
        self.asked_s.append(time.monotonic() - started)
        self._unanswered = 0
        document = answer.json()
        ids = [str(restaurant["id"]) for restaurant in document["restaurants"]]
        return Answer(ids, "x-hexbite-truncated" in answer.headers, document)

    def tell(self, events: Sequence[dict[str, Any]]) -> Counter[str]:
        """Tell events, in order and again until they are taken; how many came to what.

        Raises ReplayError where one is refused, or where the service does not take them.
        """
        outcomes: Counter[str] = Counter()
        for first in range(0, len(events), MOST_EVENTS):
            outcomes.update(self._tell(events[first : first + MOST_EVENTS]))
        return outcomes

    def _tell(self, events: Sequence[dict[str, Any]]) -> Counter[str]:
        said = ""
        for attempt in range(_TRIES):
            started = time.monotonic()
            try:
                answer = self._post("/events", {"events": events})
            except httpx.HTTPError as error:
                said = _said(error)
            else:
                said = _message(answer)
                if answer.status_code not in _AGAIN or _code(answer) == "misconfigured":
                    self._require_ok(answer, "/events", "--event-key")
                    self.told_s.append(time.monotonic() - started)
                    told = answer.json()["events"]
                    for event, outcome in zip(events, told, strict=True):
                        if outcome["outcome"] == "refused":
                            raise ReplayError(_refused(event, outcome))
                    # Told again, what was taken without an answer is known: it is the same event.
                    return Counter("taken" if attempt else outcome["outcome"] for outcome in told)
            time.sleep(_PAUSE_S)
        raise ReplayError(f"the service at {self._url} takes no events ({said}); its log says why")

    def _post(self, route: str, body: dict[str, Any]) -> httpx.Response:
        key = self._keys[route]
        return self._client.post(route, json=body, headers={} if key is None else {"Authorization": f"Bearer {key}"})

    def _count_unanswered(self, reason: str) -> None:
        self.failed[reason] += 1
        self._unanswered += 1
        if self._unanswered >= _MOST_UNANSWERED:
            raise ReplayError(f"the service at {self._url} answered none of the last {self._unanswered} ({reason})")

    def _require_ok(self, answer: httpx.Response, route: str, option: str) -> None:
        if answer.status_code == httpx.codes.OK:
            return
        hints = {401: f"; give the right key as {option}", 404: "; is it a service of Hexbite?"}
        hint = hints.get(answer.status_code, "")
        raise ReplayError(f"{self._url}{route} answers {answer.status_code}: {_message(answer)}{hint}")


def _refused(event: dict[str, Any], outcome: dict[str, Any]) -> str:
    hint = _BOUNDS.get(str(outcome.get("reason")), "")
    said = outcome.get("message") or outcome.get("reason")
    return f"the service refuses the event {event['event_id']!r}: {said}" + (f"; {hint}" if hint else "")


def _code(answer: httpx.Response) -> str:
    return str(_error(answer).get("code", ""))


def _message(answer: httpx.Response) -> str:
    return str(_error(answer).get("message") or answer.reason_phrase or answer.status_code)


def _error(answer: httpx.Response) -> dict[str, Any]:
    """What an answer says in the one form of errors; nothing where something else answers."""
    try:
        document = answer.json()
    except ValueError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
