"""YAML files in, typed models out: every way a file can be wrong becomes a ``ConfigError`` that says where and what is allowed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from include.config.confidential import is_secret_name
from include.config.errors import ConfigError, Problem

UNITS = Path(__file__).resolve().parents[1] / "units"
ROOT = UNITS.parents[1]
Model = TypeVar("Model", bound=BaseModel)


def path_in_units(path: Path) -> str:
    """How a file is named in messages."""
    return str(path.relative_to(UNITS)) if path.is_relative_to(UNITS) else path.name


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises ``ConfigError`` for broken YAML, duplicate keys and anything but a mapping."""
    return parse_yaml(path.read_bytes(), path)


def parse_yaml(content: bytes, path: Path) -> dict[str, Any]:
    """As :func:`read_yaml`, for a file that was read already; ``path`` is for messages."""
    try:
        data = yaml.load(content.decode("utf-8"), Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError as error:
        raise ConfigError((Problem(path_in_units(path), f"byte {error.start}", repr(error.object[error.start : error.end]), "UTF-8 text"),)) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "the file"
        raise ConfigError((Problem(path_in_units(path), where, getattr(error, "problem", None) or str(error), "YAML"),)) from error
    if not isinstance(data, dict):
        raise ConfigError((Problem(path_in_units(path), "the file", type(data).__name__, "a mapping of keys", "owner: data-platform"),))
    return data


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # libyaml's parser where there is one: eight times as fast
    """SafeLoader that refuses a key given twice instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, f"a {type(key).__name__} as a key", key_node.start_mark)
            if key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} given twice", key_node.start_mark)
            seen.add(key)
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found


def validate(model: type[Model], data: dict[str, Any], file: str) -> Model:
    """``data`` as a ``model``. Raises ``ConfigError`` with one problem for every wrong key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(tuple(_problem(file, item, model) for item in error.errors())) from error


def _problem(file: str, item: Any, model: type[BaseModel]) -> Problem:
    location, found = list(item["loc"]), item["input"]
    if item["type"] == "missing":
        return Problem(file, _dotted(location), "nothing", "a value: the key is required")
    if item["type"] == "extra_forbidden":
        shown = "a value that is not shown" if is_secret_name(str(location[-1])) else _short(found)
        return Problem(file, _dotted(location), shown, "no such key; known here: " + ", ".join(_known_keys(model, location[:-1])))
    allowed = str(item.get("ctx", {}).get("expected") or item["msg"].removeprefix("Value error, "))
    # A rule about several keys begins its message with the one to change.
    key, colon, rest = allowed.partition(": ")
    if item["type"] == "value_error" and colon and key in _known_keys(model, location) and isinstance(found, dict):
        return Problem(file, _dotted([*location, key]), _short(found[key]) if key in found else "nothing", rest)
    return Problem(file, _dotted(location), _short(found), allowed)


def _dotted(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location) or "the file"


def _known_keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The keys that the model at ``location`` inside ``model`` takes; none where there is no model."""
    here: Any = model
    for part in location:
        fields = _models_in(here)[:1]
        if isinstance(part, str) and fields and part in fields[0].model_fields:
            here = fields[0].model_fields[part].annotation
    return sorted(name for found in _models_in(here)[:1] for name in found.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation speaks of: ``tuple[Stream, ...]`` speaks of ``Stream``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
