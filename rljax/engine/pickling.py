"""Classes and functions of the user as bytes, and back in another process, registered as pytrees as they are here.

A class that the other process cannot import, because it is of a script or a notebook, is sent by value. cloudpickle
makes such a class empty and fills it afterwards; flax registers it as a pytree in between, when it has no fields. So
classes are made there without being registered, and registered when they are whole, as they are here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import cloudpickle
import jax
from jax._src import tree_util as registry  # jax has no public record of how a class is registered

from rljax.errors import ConfigError, WorkerError, reason

REMEDY = "put it into a module that can be imported, or give workers=1"
MAIN = ("__main__", "__mp_main__")  # cloudpickle sends what is defined there by value
NUMERICS = (  # settings of jax that change numbers; a script may have set them after jax was imported
    "jax_enable_x64",
    "jax_debug_nans",
    "jax_debug_infs",
    "jax_disable_jit",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_random_seed_offset",
)


def dumps(content: Any, trees: Sequence[Any] = ()) -> bytes:
    """Pickles `content` for `loads`.

    Args:
      trees: pytrees in which instances of the user's classes may be found, to see how they name their leaves.

    Raises:
      ConfigError: something in it cannot be pickled.
    """
    file = io.BytesIO()
    with _sent_by_value(unimportable_modules()):
        pickler = _Pickler(file)
        try:
            pickler.dump({name: getattr(jax.config, name) for name in NUMERICS if hasattr(jax.config, name)})
            pickler.dump(content)
            done: set[type] = set()
            while new := [cls for cls in pickler.by_value if cls in registry._registry and cls not in done]:
                done.update(new)
                pickler.dump([(cls, *registry._registry[cls], _keys(cls, trees)) for cls in new])
            pickler.dump([])
        except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError) as error:
            why = reason(error)
            raise ConfigError(
                f"workers: something of this cannot be sent to other processes ({why}); {REMEDY}"
            ) from None
    return file.getvalue()


def loads(data: bytes) -> Any:
    """Unpickles the content of `dumps`, with its classes registered as pytrees as they were there.

    Raises:
      WorkerError: it cannot be rebuilt here.
    """
    unpickler = pickle.Unpickler(io.BytesIO(data))
    try:
        for name, value in unpickler.load().items():
            jax.config.update(name, value)
        content = unpickler.load()
        while classes := unpickler.load():
            for cls, flatten, unflatten, keys in classes:
                if cls not in registry._registry:
                    jax.tree_util.register_pytree_node(cls, flatten, unflatten, _with_keys(flatten, keys))
    except Exception as error:  # whatever a user's module raises when it is imported
        why = reason(error)
        raise WorkerError(f"what was sent to another process cannot be rebuilt there ({why}); {REMEDY}") from error
    return content


class _Pickler(cloudpickle.Pickler):
    """Collects the classes that it sends by value, and has them made without being registered."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.by_value: dict[type, None] = {}

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, functools._lru_cache_wrapper) and not _by_reference(obj):
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if type(obj).__module__ == "dataclasses":  # its sentinels are compared by identity: a copy is none
            names = (name for name, x in vars(dataclasses).items() if x is obj)
            return next(names, NotImplemented)
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) > 2:
            self.by_value[obj] = None
            make, arguments, *rest = reduced
            return _unregistered, (make, _as_flax_wants(obj, arguments)), *rest
        return reduced


def _as_flax_wants(cls: type, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Marks cloudpickle's arguments of a class as seen by flax, which would make a dataclass of it again."""
    if "_flax_dataclass" not in cls.__dict__:
        return arguments
    return tuple({**x, "_flax_dataclass": True} if isinstance(x, dict) else x for x in arguments)


def _unregistered(make: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    """Makes a class, still without its fields, that is registered nowhere: jax would refuse the second time."""
    kept = {name: getattr(registry, name) for name in ("_all_registries", "_registry")}
    registry._all_registries, registry._registry = (), {}
    try:
        return make(*arguments)
    finally:
        for name, value in kept.items():
            setattr(registry, name, value)


def _cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Callable[..., Any]:
    return functools.lru_cache(**parameters)(function)


def _by_reference(obj: Any) -> bool:
    """Whether another process finds this function by its name."""
    module = sys.modules.get(obj.__module__)
    if obj.__module__ == "__main__" or module is None or module.__name__ in cloudpickle.list_registry_pickle_by_value():
        return False
    found: Any = module
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


def _keys(cls: type, trees: Sequence[Any]) -> tuple[Any, ...] | None:
    """The names by which the first instance of a class in these trees calls its children; None if it has none."""
    node = next((x for x in jax.tree.leaves(trees, is_leaf=lambda x: type(x) is cls) if type(x) is cls), None)
    children = jax.tree.leaves_with_path(node, is_leaf=lambda x: x is not node)
    keys = tuple(path[0] for path, _ in children)
    return None if all(isinstance(key, jax.tree_util.FlattenedIndexKey) for key in keys) else keys


def _with_keys(flatten: Callable[[Any], Any], keys: tuple[Any, ...] | None) -> Callable[[Any], Any] | None:
    if keys is None:
        return None

    def flatten_with_keys(node: Any) -> Any:
        children, rest = flatten(node)
        return tuple(zip(keys, children, strict=True)), rest

    return flatten_with_keys


def unimportable_modules() -> list[ModuleType]:
    """The modules here that another process with the same path would not find, or would find to be another file."""
    roots = {name.split(".")[0] for name in sys.modules} - {*MAIN, *sys.builtin_module_names, *sys.stdlib_module_names}
    return [sys.modules[name] for name in roots if name in sys.modules and is_unimportable(sys.modules[name])]


def is_unimportable(module: Any) -> bool:
    """Whether another process with the same path would not find this module, or would find it to be another file."""
    file = getattr(module, "__file__", None)
    if not isinstance(module, ModuleType) or file is None:
        return False
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
    with contextlib.suppress(Exception):  # a finder of another package
        spec = next((spec for spec in (finder.find_spec(module.__name__, None) for finder in finders) if spec), None)
        another = spec is not None and spec.origin and os.path.realpath(spec.origin) != os.path.realpath(file)
        return spec is None or bool(another and not hasattr(module, "__path__"))
    return False


@contextlib.contextmanager
def _sent_by_value(modules: Sequence[ModuleType]) -> Iterator[None]:
    new = [m for m in modules if m.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    for module in new:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in new:
            cloudpickle.unregister_pickle_by_value(module)
