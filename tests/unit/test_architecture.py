"""The shape of the repository: who may import whom, and what no module may do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "headrace_proto": ROOT / "proto",
    "headrace_actor": ROOT / "services" / "actor",
    "headrace_gate": ROOT / "services" / "replay-gate",
    "headrace_learner": ROOT / "services" / "learner",
    "headrace_local": ROOT / "deploy" / "local",
}
SERVICES = ("headrace_actor", "headrace_gate", "headrace_learner")
MODULES = sorted(path for name, project in PACKAGES.items() for path in (project / name).rglob("*.py"))

FOLDERS = ("proto", "services", "deploy", "tests", "bench", "docs")
EVERY_MODULE = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
"""Tests, tools, benchmarks and what draws the figures too."""

CODE_FROM_BYTES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
RUNS_CODE = {
    *("eval", "exec", "compile", "__import__"),
    *("torch.load", "torch.save", "torch.jit.load", "torch.serialization.load", "numpy.load"),
    *("yaml.load", "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load", "yaml.unsafe_load_all"),
    *(f"yaml.{kind}Loader" for kind in ("", "C", "Full", "CFull", "Unsafe", "CUnsafe")),
}
"""`torch.load` with or without `weights_only`: a checkpoint is safetensors. Of yaml's there is `safe_load`."""

PICKLES = {"recv_pyobj", "send_pyobj"}
"""Methods of pyzmq's sockets."""

LONGEST_MODULE_LINES = 300
LONGEST_FUNCTION_LINES = 60


def in_repository(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_services_import_proto_and_their_own_code_only() -> None:
    checked = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_depends_on_no_other_service(service: str) -> None:
    ours = {name.replace("_", "-") for name in PACKAGES}
    assert {name for name in _dependencies(PACKAGES[service]) if name in ours} == {"headrace-proto"}


def test_proto_depends_on_nothing_of_ours() -> None:
    assert not {name for name in _dependencies(PACKAGES["headrace_proto"]) if name.startswith("headrace")}


@pytest.mark.parametrize("package", list(PACKAGES))
def test_a_package_declares_what_it_imports_of_ours(package: str) -> None:
    imported = {name.split(".")[0] for path in (PACKAGES[package] / package).rglob("*.py") for name in _imports(path)}
    declared = {name.replace("-", "_") for name in _dependencies(PACKAGES[package])}
    assert {name for name in imported if name in PACKAGES} - {package} <= declared


def test_the_gate_runs_without_torch_gymnasium_and_safetensors() -> None:
    heavy = ("torch", "gymnasium", "ale_py", "safetensors")
    program = f"import headrace_gate.__main__, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "package", ["headrace_local", "headrace_local.cli", "headrace_local.train", "headrace_local.compare"]
)
def test_the_command_answers_without_waiting_for_torch_and_matplotlib(package: str) -> None:
    program = f"import {package}, sys; print([name for name in ('torch', 'matplotlib') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


def test_the_gate_declares_no_torch() -> None:
    project = tomllib.loads((PACKAGES["headrace_gate"] / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == ["headrace-proto"]


@pytest.mark.parametrize("path", EVERY_MODULE, ids=in_repository)
def test_nothing_read_from_a_socket_or_a_file_can_run_code(path: Path) -> None:
    assert _running_code(path) == []


@pytest.mark.parametrize("path", MODULES, ids=in_repository)
def test_a_module_is_short_and_named_for_what_it_is(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE_LINES
    assert not re.search(r"util|helper|manager|common|misc", path.stem)


@pytest.mark.parametrize("path", MODULES, ids=in_repository)
def test_every_function_is_short(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION_LINES} == {}


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("import pickle as p", "pickle"),
        ("from shelve import open", "shelve"),
        ("from torch import load as read", "torch.load"),
        ("import torch\ntorch.load('x', weights_only=True)", "torch.load"),
        ("import torch as t\nt.load('x')", "torch.load"),
        ("from torch.serialization import load", "torch.serialization.load"),
        ("import numpy as np\nnp.load('x')", "numpy.load"),
        ("import yaml\nyaml.load('x', yaml.SafeLoader)", "yaml.load"),
        ("from yaml import unsafe_load", "yaml.unsafe_load"),
        ("import yaml as y\ny.load_all('x', y.UnsafeLoader)", "yaml.UnsafeLoader"),
        ("run = eval", "eval"),
        ("from builtins import exec", "exec"),
        ("import builtins\nbuiltins.exec('1')", "exec"),
        ("__import__('pickle')", "__import__"),
        ("socket.recv_pyobj()", "recv_pyobj"),
    ],
)
def test_the_check_for_code_from_bytes_sees(tmp_path: Path, program: str, found: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(program)

    assert _running_code(path) == [found]


def test_one_lock_pins_every_dependency_of_every_package() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in lines if not line.startswith(("#", " "))}
    needed = {name for project in PACKAGES.values() for name in _dependencies(project)}
    assert {name for name in needed if not name.startswith("headrace-")} <= pinned
    assert not [name for name in pinned if re.match("nvidia|cuda|triton", name)]


def _dependencies(project: Path) -> set[str]:
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    extras = declared.get("optional-dependencies", {}).values()
    requirements = [*declared.get("dependencies", []), *(line for extra in extras for line in extra)]
    return {re.split(r"[\[<>=! ]", line)[0].lower() for line in requirements}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _mentions(path: Path) -> Iterator[str]:
    """Names and what is looked up in them, whatever a module was imported as."""
    tree = ast.parse(path.read_text())
    imports = [alias for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    modules = {alias.asname: alias.name for alias in imports if alias.asname}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            first, dot, rest = ast.unparse(node).partition(".")
            yield modules.get(first, first) + dot + rest
        if isinstance(node, ast.Attribute) and node.attr in PICKLES:
            yield node.attr


def _running_code(path: Path) -> list[str]:
    """What a module imports or mentions that can run what it reads."""
    imported, mentioned = list(_imports(path)), list(_mentions(path))
    modules = {name.split(".")[0] for name in imported} & CODE_FROM_BYTES
    names = {name.removeprefix("builtins.") for name in (*imported, *mentioned)}
    return sorted(modules | names & (RUNS_CODE | PICKLES))
