"""Entries that other programs put into a stream, and command lines."""

from busredis.events import DomainEvent
from tests.bad_input.model import SECRET, Call, Entry

SHOP = "tests.acceptance.shop"


class Foreign(DomainEvent):
    """What the entries below pretend to be."""

    amount: int = 0
    note: object = None


def _event(tried: str, raw: bytes, reason: str, says: str) -> Entry:
    return Entry(tried, {"event": raw}, reason, says)


ENTRIES = [
    Entry("no field `event`", {"data": "x", "Event": "{}"}, "envelope", "'data', 'Event'"),
    Entry("a field whose name is no UTF-8", {b"\xff\xfe": "x"}, "envelope", "no field 'event'"),
    _event("nothing", b"", "json", "event: "),
    _event("text that is no JSON", b"not json", "json", "event: "),
    _event("a pickle", b"\x80\x04\x95\x0f\x00", "json", "event: "),
    _event("a YAML tag", b"!!python/object/apply:os.system ['x']", "json", "event: "),
    _event("JSON and more behind it", b'{"payload":{}} x', "json", "event: "),
    _event("JSON behind a BOM", b'\xef\xbb\xbf{"payload":{}}', "json", "BOM"),
    _event("UTF-16", '{"payload":{}}'.encode("utf-16"), "json", "event: "),
    _event("no UTF-8", b'{"payload":{"note":"\xff"}}', "json", "event: "),
    _event("half of a surrogate pair", b'{"payload":{"note":"\\ud800"}}', "json", "surrogate"),
    _event("an array", b"[]", "json", "not list"),
    _event("`null`", b"null", "json", "not NoneType"),
    _event("a number", b"7", "json", "not int"),
    _event("`NaN`", b'{"payload":{"note":NaN}}', "json", "event: "),
    _event("`1e400`", b'{"payload":{"note":1e400}}', "json", "event: "),
    _event("an integer of 5,000 digits", b'{"payload":{"note":' + b"9" * 5_000 + b"}}", "json", "event: "),
    _event(
        "an integer of 30 digits", b'{"payload":{"note":' + b"9" * 30 + b"}}", "validation", "payload.note"
    ),
    _event(
        "`2**64` where a whole number is expected",
        b'{"payload":{"amount":18446744073709551616}}',
        "validation",
        "payload.amount",
    ),
    _event(
        "100 levels", b'{"payload":{"note":' + b"[" * 100 + b"]" * 100 + b"}}", "validation", "payload.note"
    ),
    _event("1,000,000 opening brackets", b"[" * 1_000_000, "json", "event: "),
    _event(
        "2 MB", b'{"payload":{"note":"' + b"x" * 2_000_000 + b'"}}', "too-large", "the limit is 1,048,576"
    ),
    _event(
        "a version of 4,000 digits",
        b'{"event_version":' + b"9" * 4_000 + b',"payload":{}}',
        "json",
        "event: ",
    ),
    _event("no payload", b"{}", "validation", "payload: is missing"),
    _event("a payload that is a list", b'{"payload":[]}', "validation", "payload: is of type list"),
    _event('`"12"` for a number', b'{"payload":{"amount":"12"}}', "validation", "payload.amount"),
    _event("`true` for a number", b'{"payload":{"amount":true}}', "validation", "payload.amount"),
    _event("`12.5` for a whole number", b'{"payload":{"amount":12.5}}', "validation", "payload.amount"),
    _event(
        "a secret in the wrong place",
        b'{"payload":{"amount":"%s"}}' % SECRET.encode(),
        "validation",
        "payload.amount",
    ),
    _event("an id that is none", b'{"event_id":"x","payload":{}}', "validation", "event_id"),
    _event(
        "a time without a zone",
        b'{"occurred_at":"2026-01-01T00:00:00","payload":{}}',
        "validation",
        "occurred_at",
    ),
    _event("a time beyond the year 9999", b'{"occurred_at":1e20,"payload":{}}', "validation", "occurred_at"),
    _event(
        "another event type",
        b'{"event_type":"Nope","payload":{}}',
        "unknown-type",
        "'Nope' in the stream of 'Foreign'",
    ),
    _event("version 0", b'{"event_version":0,"payload":{}}', "version", "a whole number from 1"),
    _event('version `"1"`', b'{"event_version":"1","payload":{}}', "version", "a whole number from 1"),
    _event(
        "a version of the future", b'{"event_version":9,"payload":{}}', "newer-version", "event_version is 9"
    ),
]


def _call(tried: str, *arguments: str, code: int = 2, says: str, given: bytes = b"") -> Call:
    return Call(tried, arguments, code, says, given)


_SALE = '{"event_type": "ShopSold", "payload": {}}'
_LINES = ("publish", "--jsonl", "-", "--import", SHOP)

CALLS = [
    _call("`busredis nonsense`", "nonsense", says="No such command"),
    _call("`status --nonsense`", "status", "--nonsense", says="No such option"),
    _call("`status --url localhost:6379`", "status", "--url", "localhost:6379", says="no scheme"),
    _call("`status --namespace 'a b'`", "status", "--namespace", "a b", says="namespace"),
    _call("`run` without a module", "run", says="Missing argument"),
    _call("`run ''`", "run", "", says="names no module"),
    _call("`run .shop`", "run", ".shop", says="names no module"),
    _call("`run a..b`", "run", "a..b", says="no module 'a..b'"),
    _call("`run nowhere`", "run", "nowhere", says="no module 'nowhere'"),
    _call("`run json`", "run", "json", says="no Router in it"),
    _call("`run shop:not_a_router`", "run", f"{SHOP}:not_a_router", says="is no Router"),
    _call("`run shop --group x`", "run", SHOP, "--group", "x", says="no handler is named x"),
    _call("`run shop --processes 0`", "run", SHOP, "--processes", "0", says="--processes"),
    _call("`run shop --concurrency many`", "run", SHOP, "--concurrency", "many", says="--concurrency"),
    _call("`run shop --log-level LOUD`", "run", SHOP, "--log-level", "LOUD", says="--log-level LOUD"),
    _call("`publish` alone", "publish", says="name an event type"),
    _call(
        "`publish` of an unknown type",
        "publish",
        "Nope",
        "{}",
        code=1,
        says="no event class is registered for 'Nope'",
    ),
    _call(
        "`publish` of broken JSON",
        "publish",
        "ShopSold",
        "{",
        "--import",
        SHOP,
        code=1,
        says="the JSON is no event",
    ),
    _call(
        "`publish` of a list",
        "publish",
        "ShopSold",
        "[1]",
        "--import",
        SHOP,
        code=1,
        says="a JSON object, not list",
    ),
    _call(
        "`publish` of bytes that are no UTF-8",
        "publish",
        "ShopSold",
        '{"item":"\udcff"}',
        "--import",
        SHOP,
        code=1,
        says="the JSON is no event",
    ),
    _call(
        "`publish` of a field that the event has not",
        "publish",
        "ShopSold",
        '{"itm": "tea"}',
        "--import",
        SHOP,
        code=1,
        says="ShopSold has no field 'itm'; it has cents, item",
    ),
    _call(
        "`publish A` of JSON that says it is B",
        "publish",
        "ShopSold",
        '{"event_type":"Other","payload":{}}',
        "--import",
        SHOP,
        code=1,
        says="event_type is 'Other', not",
    ),
    _call(
        "`publish --key` that is no UTF-8",
        "publish",
        "ShopSold",
        "{}",
        "--import",
        SHOP,
        "--key",
        "\udcff",
        says="--key",
    ),
    _call(
        "`publish --key ''`",
        "publish",
        "ShopSold",
        "{}",
        "--import",
        SHOP,
        "--key",
        "",
        code=1,
        says="1 to 128 characters",
    ),
    _call(
        "`publish --import nowhere`",
        "publish",
        "X",
        "{}",
        "--import",
        "nowhere",
        says="No module named 'nowhere'",
    ),
    _call("`publish --import ''`", "publish", "X", "{}", "--import", "", says="names no module"),
    _call("`publish TYPE JSON --jsonl FILE`", "publish", "ShopSold", "{}", "--jsonl", "-", says="either"),
    _call("`publish --jsonl FILE --key k`", "publish", "--jsonl", "-", "--key", "k", says="--key"),
    _call(
        "`publish --jsonl` of a file that is not there",
        "publish",
        "--jsonl",
        "/nowhere.jsonl",
        says="No such file",
    ),
    _call("`publish --jsonl` of a folder", "publish", "--jsonl", "/", says="Is a directory"),
    _call(
        "`publish --rejects` into no folder", *_LINES, "--rejects", "/nowhere/x", says="--rejects /nowhere/x"
    ),
    _call(
        "a line that is no JSON",
        *_LINES,
        code=1,
        says="line 2 is no event",
        given=f"{_SALE}\n{{broken\n".encode(),
    ),
    _call("a line that is no UTF-8", *_LINES, code=1, says="line 1 is no event", given=b"\xff\xfe\n"),
    _call(
        "a line without a type",
        *_LINES,
        code=1,
        says="line 1 is no event: envelope: event_type is missing",
        given=b"{}",
    ),
    _call(
        "a line of 1,000,000 opening brackets",
        *_LINES,
        code=1,
        says="line 1 is no event",
        given=b"[" * 1_000_000,
    ),
    _call(
        "a line of 7 MB",
        *_LINES,
        code=1,
        says="line 2 is no event: it is longer than",
        given=b"\n" + b"x" * 7_000_000,
    ),
    _call(
        "an event of 1,048,576 bytes, without its metadata",
        *_LINES,
        code=1,
        says="line 1 is no event: ShopSold is",
        given=b'{"event_type":"ShopSold","payload":{"item":"%s"}}' % (b"x" * 1_048_520),
    ),
    _call(
        "`dead show` of an id that is none", "dead", "show", "till", "abc", code=1, says="no dead letter abc"
    ),
    _call(
        "`dead show` of a letter that is not there",
        "dead",
        "show",
        "till",
        "1-1",
        code=1,
        says="no dead letter 1-1",
    ),
    _call(
        "`dead retry` of a letter that is gone",
        "dead",
        "retry",
        "till",
        "1-1",
        code=1,
        says="retried or discarded already",
    ),
    _call("`dead ls --limit 0`", "dead", "ls", "--limit", "0", says="--limit"),
    _call("`tail -n -1`", "tail", "-n", "-1", says="-n"),
]
