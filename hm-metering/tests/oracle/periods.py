#!/usr/bin/env python3
"""Makes periods.csv: what Python's zoneinfo says of periods, for tests/it/periods/oracle.rs to agree with.

    python3 hm-metering/tests/oracle/periods.py > hm-metering/tests/oracle/periods.csv

Nothing here is shared with the code under test: boundaries are found with the local readings that zoneinfo gives, by
fold and by bisection. Times are seconds since the Unix epoch. The first line names the version of the time zone
database; the test takes the rows of years to come only from the version that chrono-tz has, because governments change
the future and seldom the past.
"""

import random
import sys
import zoneinfo
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

ZONES = """UTC Africa/Abidjan Africa/Cairo Africa/Casablanca Africa/Juba Africa/Monrovia America/Anchorage America/Asuncion
America/Caracas America/Havana America/New_York America/Nuuk America/Phoenix America/Santiago America/Sao_Paulo
America/Scoresbysund America/St_Johns Antarctica/Troll Asia/Amman Asia/Beirut Asia/Dhaka Asia/Gaza Asia/Kathmandu
Asia/Kolkata Asia/Pyongyang Asia/Tehran Asia/Tokyo Asia/Yangon Atlantic/Azores Australia/Eucla Australia/Lord_Howe
Australia/Sydney Europe/Berlin Europe/Dublin Europe/Istanbul Europe/London Europe/Moscow Pacific/Apia Pacific/Auckland
Pacific/Chatham Pacific/Kiritimati Pacific/Kwajalein""".split()
RULES = ["anchored_month", "calendar_month", "week", "week_sunday", "day", "hour"]
FIRST, LAST = 86_400 * 366, 86_400 * 365 * 70
ROWS_PER_RULE = 60
STEP = 30  # Offsets since 1970 are whole multiples of half a minute.


def local(second, zone):
    return datetime.fromtimestamp(second, zone).replace(tzinfo=None, fold=0)


def midnight(day, zone):
    """When the clock first reads the midnight that begins `day`, or the moment at which it jumps over it."""
    reads = datetime(day.year, day.month, day.day)
    at = int(reads.replace(tzinfo=zone, fold=0).timestamp())
    if local(at, zone) == reads:
        return at
    before, after = at - 2 * 86_400, at
    assert local(before, zone) < reads < local(after, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if local(middle, zone) < reads:
            before = middle
        else:
            after = middle
    return after


def anchored(year, month, day):
    """The day of the month, or its last."""
    last = (date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)).day
    return date(year, month, min(day, last))


def first_days(rule, around, anchor, zone):
    """The first days of the periods around a date, in order."""
    if rule == "day":
        return [around + timedelta(days=n) for n in range(-3, 4)]
    if rule.startswith("week"):
        back = around.weekday() if rule == "week" else (around.weekday() + 1) % 7
        return [around + timedelta(days=7 * n - back) for n in range(-2, 3)]
    day = 1 if rule == "calendar_month" else local(anchor, zone).day
    months = [around.year * 12 + around.month - 1 + n for n in range(-2, 3)]
    return [anchored(n // 12, n % 12 + 1, day) for n in months]


def begins_an_hour(second, zone):
    reads, before = local(second, zone), local(second - STEP, zone)
    full = reads.replace(minute=0, second=0)
    return reads == full or before < full


def period(rule, at, anchor, zone):
    if rule == "hour":
        start = at - at % STEP
        end = start + STEP
        while not begins_an_hour(start, zone):
            start -= STEP
        while not begins_an_hour(end, zone):
            end += STEP
        return start, end
    bounds = [midnight(day, zone) for day in first_days(rule, local(at, zone).date(), anchor, zone)]
    assert bounds == sorted(bounds)
    return max(b for b in bounds if b <= at), min(b for b in bounds if b > at)


def changes(zone):
    """The days on which the clock is changed."""
    days = range(FIRST, LAST, 86_400)
    offsets = [datetime.fromtimestamp(day, zone).utcoffset() for day in days]
    return [day for day, a, b in zip(days, offsets, offsets[1:]) if a != b]


def times(zone, rng):
    """Times anywhere, and as many around the changes of the clock."""
    changed = changes(zone)
    for n in range(ROWS_PER_RULE):
        if changed and n % 2:
            yield rng.choice(changed) + rng.randrange(-86_400, 2 * 86_400)
        else:
            yield rng.randrange(FIRST, LAST)


def version():
    for folder in zoneinfo.TZPATH:
        database = Path(folder, "tzdata.zi")
        if database.exists():
            return database.read_text().split("\n", 1)[0].removeprefix("# version ")
    sys.exit("the version of the time zone database is not known")


def main():
    rng = random.Random(2026)
    print(f"# tzdata {version()}")
    print("zone,rule,at,anchor,start,end")
    for name in ZONES:
        zone = timezone.utc if name == "UTC" else zoneinfo.ZoneInfo(name)
        for rule in RULES:
            for at in times(zone, rng):
                anchor = rng.randrange(FIRST, LAST)
                start, end = period(rule, at, anchor, zone)
                print(f"{name},{rule},{at},{anchor},{start},{end}")


if __name__ == "__main__":
    main()
