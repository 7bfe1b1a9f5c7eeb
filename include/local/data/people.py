"""Invented people: names in several scripts, addresses in reserved domains, and the untidiness that real forms collect."""

from __future__ import annotations

from typing import Any

import numpy as np

from include.local.data.frames import Arrays
from include.local.data.steps import choice, maybe

# As typed, and in plain letters for user names and e-mail addresses. The two lists are combined at random.
FIRST = (
    ("Amara", "amara"), ("Björn", "bjorn"), ("Chidi", "chidi"), ("Dagny", "dagny"), ("Élodie", "elodie"), ("Farid", "farid"), ("Gülşen", "gulsen"),
    ("Hana", "hana"), ("Ines", "ines"), ("José", "jose"), ("Kwame", "kwame"), ("Łucja", "lucja"), ("Mei-Ling", "meiling"), ("Nadia", "nadia"),
    ("Olu", "olu"), ("Priya", "priya"), ("Quim", "quim"), ("Rosa", "rosa"), ("Søren", "soren"), ("Tomás", "tomas"), ("Ulla", "ulla"),
    ("Viktor", "viktor"), ("Wanjiru", "wanjiru"), ("Xóchitl", "xochitl"), ("Yusuf", "yusuf"), ("Zoë", "zoe"), ("陽子", "yoko"), ("Дарья", "darya"),
    ("محمد", "mohamed"), ("अनन्या", "ananya"),
)  # fmt: skip
LAST = (
    ("Abara", "abara"), ("Bergqvist", "bergqvist"), ("Castaño", "castano"), ("D'Angelo", "dangelo"), ("Eze", "eze"), ("Fjeldstad", "fjeldstad"),
    ("García Núñez", "garcianunez"), ("Hollowell", "hollowell"), ("Ishikawa", "ishikawa"), ("Jovanović", "jovanovic"), ("Kowalczyk", "kowalczyk"),
    ("Lindqvist", "lindqvist"), ("Mbeki-Rao", "mbekirao"), ("Nguyễn", "nguyen"), ("O’Connell", "oconnell"), ("Pereira", "pereira"), ("Quispe", "quispe"),
    ("Rahman", "rahman"), ("Şahin", "sahin"), ("Tkachenko", "tkachenko"), ("Underhill", "underhill"), ("van der Meer", "vandermeer"), ("Weiß", "weiss"),
    ("Xu", "xu"), ("Yılmaz", "yilmaz"), ("Zieliński", "zielinski"), ("山本", "yamamoto"), ("Иванова", "ivanova"),
)  # fmt: skip
DOMAINS = ("example.com", "example.org", "example.net", "mail.example.com", "students.example.org")
COUNTRIES = ("US", "IN", "BR", "NG", "DE", "GB", "CA", "MX", "JP", "KE", "EG", "CO", "VN", "TR", "PL")
COUNTRY_WEIGHTS = (30.0, 14, 7, 5, 5, 5, 5, 4, 4, 4, 4, 4, 3, 3, 3)
STATES = {"US": ("US-MA", "US-CA", "US-NY", "US-TX"), "CA": ("CA-ON", "CA-QC")}
EDUCATION = ("Doctorate", "Master's or professional degree", "Bachelor's degree", "Associate degree", "Secondary/high school", None)
INDUSTRIES = ("Education", "Manufacturing", "Health care", "Finance", "Energy", "")
COMPANIES = ("Blue Heron Foods", "Quarry & Sons", "Tidewater Labs", "Unlisted", "")
JOBS = ("Engineer", "Analyst", "Teacher", "Nurse", "Student", "Manager", "")


def people(rng: np.random.Generator, ids: np.ndarray[Any, Any], domain_prefix: str = "") -> Arrays:
    """One invented person for each id.

    Columns: first_name, last_name, name, username, email (unique for distinct ids and prefixes, also in lower case), country, state, gender, birth_year,
    company, job_title, industry, years_experience, education. About 8 % of the addresses have capitals, 2 % a trailing blank, 0.5 % are empty.
    """
    count = len(ids)
    first, last = rng.integers(0, len(FIRST), count), rng.integers(0, len(LAST), count)
    plain = [f"{FIRST[f][1]}.{LAST[s][1]}{i}" for f, s, i in zip(first.tolist(), last.tolist(), ids.tolist(), strict=True)]
    domains = choice(rng, DOMAINS, count).tolist()
    emails = [_untidy(f"{user}@{domain_prefix}{domain}", odds) for user, domain, odds in zip(plain, domains, rng.random(count).tolist(), strict=True)]
    names = [f"{FIRST[f][0]} {LAST[s][0]}" + (" " if odds < 0.01 else "") for f, s, odds in zip(first, last, rng.random(count).tolist(), strict=True)]
    countries = choice(rng, COUNTRIES, count, COUNTRY_WEIGHTS)
    return {
        "first_name": np.array([FIRST[f][0] for f in first], dtype=object),
        "last_name": np.array([LAST[s][0] for s in last], dtype=object),
        "name": np.array(names, dtype=object),
        "username": np.array([user.replace(".", "_")[:30] for user in plain], dtype=object),
        "email": np.array(emails, dtype=object),
        "country": countries,
        "state": _states(rng, countries),
        "gender": choice(rng, ("m", "f", "nb", "o", None), count, (44, 40, 2, 2, 12)),
        "birth_year": maybe(rng, rng.integers(1950, 2009, count), 0.15),
        "company": choice(rng, COMPANIES, count),
        "job_title": choice(rng, JOBS, count),
        "industry": choice(rng, INDUSTRIES, count),
        "years_experience": maybe(rng, rng.integers(0, 41, count), 0.3),
        "education": choice(rng, EDUCATION, count),
    }


def _untidy(email: str, odds: float) -> str:
    """The address as its owner typed it."""
    if odds < 0.04:
        return email.title()
    if odds < 0.08:
        return email.partition("@")[0].upper() + "@" + email.partition("@")[2]
    if odds < 0.10:
        return email + " "
    return "" if odds < 0.105 else email


def _states(rng: np.random.Generator, countries: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    drawn = rng.integers(0, 4, len(countries)).tolist()
    states = np.empty(len(countries), dtype=object)
    states[:] = [STATES[c][d % len(STATES[c])] if c in STATES else None for c, d in zip(countries.tolist(), drawn, strict=True)]
    return states


def other_case(rng: np.random.Generator, emails: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same addresses as their owners typed them somewhere else: other letter case, at times a trailing blank."""
    odds = rng.random(len(emails)).tolist()
    typed = np.empty(len(emails), dtype=object)
    for row, (email, odd) in enumerate(zip(emails.tolist(), odds, strict=True)):
        plain = email.strip().lower()
        typed[row] = plain.title() if odd < 0.5 else plain.upper() if odd < 0.65 else plain + " " if odd < 0.7 else plain
    return typed
