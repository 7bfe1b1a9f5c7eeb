"""Code locations: who of the platform's code is deployed together, runs from the same images and reads the same secrets.

A location is one Airflow Dag bundle. A file that cannot be imported hides nothing of another location, and a run keeps the release of
its location with which it started (``plugins/release_bundle.py``). Tasks run with the location's own identity
(``plugins/airflow_local_settings.py``), which may read the location's secrets and those that all share.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from include.config.environments import EnvironmentSettings, Images, _Model
from include.config.errors import ConfigError, Problem
from include.config.files import UNITS, read_yaml, validate
from include.config.vocabulary import Owner

FILE = "locations.yml"
SHARED = "shared"
"""Where the secrets lie that every location may read; no location can be called so."""
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]


class Location(_Model):
    """One code location.

    ``dags`` are its DAG files: patterns below ``dags/``, which may match nothing yet. ``domains`` are those of its jobs, which name
    their service accounts. ``images`` says which of the environments' images a job gets that asks for ``jobs`` or ``dbt``.
    """

    name: Name
    description: str
    owner: Owner
    dags: Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z0-9_*/]+\.py$")], ...], Field(min_length=1)]
    domains: tuple[Name, ...]
    images: dict[str, str]

    def files(self, root: Path) -> tuple[Path, ...]:
        """The location's DAG files in a repository, sorted."""
        return tuple(sorted(path for pattern in self.dags for path in (root / "dags").glob(pattern)))

    @property
    def worker(self) -> str:
        """The service account of the pods that Airflow's tasks run in."""
        return f"airflow-worker-{self.name}"


def read_locations(root: Path = UNITS) -> dict[str, Location]:
    """Every location by name. Raises ``ConfigError``, also when two of them claim one domain or an image is not among the environments'."""
    path = root / FILE
    found = {name: validate(Location, {"name": name, **data}, f"{FILE} ({name})") for name, data in read_yaml(path).items() if _is_mapping(name, data)}
    problems = [Problem(FILE, f"{name}.images.{role}", repr(image), ", ".join(Images.model_fields)) for name, role, image in _unknown_images(found)]
    owners: dict[str, str] = {}
    for name, location in found.items():
        if name == SHARED:
            problems.append(Problem(FILE, name, "a location", f"another name: {SHARED} is where secrets lie that all locations may read"))
        for domain in location.domains:
            if owners.setdefault(domain, name) != name:
                problems.append(Problem(FILE, f"{name}.domains", repr(domain), f"a domain of its own: {owners[domain]} has this one"))
    if problems:
        raise ConfigError(tuple(problems))
    return found


def _is_mapping(name: str, data: object) -> bool:
    if not isinstance(data, dict):
        raise ConfigError((Problem(FILE, str(name), repr(data), "a mapping of keys"),))
    return True


def _unknown_images(locations: dict[str, Location]) -> list[tuple[str, str, str]]:
    known = Images.model_fields
    return [(name, role, image) for name, location in locations.items() for role, image in location.images.items() if image not in known]


@cache
def locations() -> dict[str, Location]:
    """This repository's locations, read once a process."""
    return read_locations()


def location_of_domain(domain: str) -> Location:
    """The location whose jobs have this domain. Raises ``ConfigError`` for a domain of none."""
    for location in locations().values():
        if domain in location.domains:
            return location
    known = ", ".join(sorted(domain for location in locations().values() for domain in location.domains))
    raise ConfigError((Problem(FILE, "domains", repr(domain), f"a domain of one location: {known}"),))


def image_for(environment: EnvironmentSettings, domain: str, role: str) -> str:
    """The image, with its version, for a job of a domain that asks for ``role``. Raises ``ConfigError`` when its location has none."""
    location = location_of_domain(domain)
    if role not in location.images:
        raise ConfigError((Problem(FILE, f"{location.name}.images", f"no {role}", ", ".join(sorted(location.images))),))
    return environment.image(location.images[role])


def bundles(environment: EnvironmentSettings, *, root: str, release: dict[str, str]) -> list[dict[str, Any]]:
    """Airflow's ``[dag_processor] dag_bundle_config_list`` for a cluster.

    :param root: where the Airflow image has the platform's code.
    :param release: what a run keeps beside its code: ``OL_IMAGE_TAG`` and ``OL_IMAGE_DIGESTS``.
    """
    scheme, _, rest = environment.work.partition("://")
    releases = f"{scheme}://object_store@{rest}/releases" if scheme == "s3" else f"{environment.work}/releases"
    return [
        {
            "name": location.name,
            "classpath": "release_bundle.ReleaseBundle",
            "kwargs": {"root": root, "releases": releases, "dags": " ".join(location.dags), "release": release, "service_account": location.worker},
        }
        for location in locations().values()
    ]
