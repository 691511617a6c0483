"""Parameters from YAML: files, texts, and the order in which they override each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from host_bridge.executor.parameter_types import ParameterError


def load_parameters(
    *,
    files: Iterable[str | os.PathLike[str]] = (),
    texts: Iterable[str] = (),
    values: Iterable[Mapping[str, Any]] = (),
    read: Callable[[str], str] | None = None,
) -> dict[str, Any]:
    """Merge parameters: files first, then YAML texts, then values; within each, the later wins.

    YAML's dates stay the text that was written: the notebook's declared types decide whether it is a date.

    Args:
        files: YAML (or JSON) files, each a mapping from names to values.
        texts: YAML texts of the same shape.
        values: Mappings, such as what `-p` gave.
        read: Gives a file's text where files may be remote; without it they are local.

    Raises:
        ParameterError: A file can't be read, isn't YAML, isn't a mapping, or names a parameter twice.
    """
    merged: dict[str, Any] = {}
    for file in files:
        path = os.fspath(file)
        merged.update(_parse(_read(path, read), path))
    for text in texts:
        merged.update(_parse(text, "the given YAML"))
    for mapping in values:
        merged.update(mapping)
    return merged


def _read(path: str, read: Callable[[str], str] | None) -> str:
    try:
        return read(path) if read is not None else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ParameterError(f"can't read the parameters file {path}: {reason}") from error


def _parse(text: str, source: str) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, RecursionError) as error:
        raise ParameterError(f"{source} isn't YAML: {' '.join(str(error).split())}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ParameterError(f"{source} holds a {type(found).__name__}, not a mapping from parameter names to values")
    for name in found:
        if not isinstance(name, str):
            raise ParameterError(f"{source} names a parameter {name!r} ({type(name).__name__}): put the name in quotes")
    return found


def _loader() -> Any:
    """Give YAML's safe loader, without dates and with an eye on names given twice."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(loader: Any, node: Any) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = loader.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key if isinstance(key, str) else None)
        return yaml.SafeLoader.construct_mapping(loader, node, deep=True)

    Loader.add_constructor("tag:yaml.org,2002:map", construct_mapping)
    return Loader
