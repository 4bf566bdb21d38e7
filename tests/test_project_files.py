"""What drifts apart unnoticed: Python versions, the version, commands in CONTRIBUTING, hooks, workflows, the changelog.

The rules are functions of texts, so that each is seen to fail on a text that breaks it.
"""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from imago import __version__

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SECTIONS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")  # of Keep a Changelog, in its order
FIVE_WORDS = {"test", "lint", "docs", "bench", "build"}
# Elsewhere than in pyproject.toml, ruff and mypy would find settings that win over the project's.
OTHER_SETTINGS = ("ruff.toml", ".ruff.toml", "mypy.ini", ".mypy.ini")


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))


def load_yaml(name: str) -> Any:
    return yaml.safe_load(read(name))


def find_sessions(noxfile: str) -> set[str]:
    """Names of the functions that are decorated as sessions."""
    functions = [node for node in ast.parse(noxfile).body if isinstance(node, ast.FunctionDef)]
    return {f.name for f in functions if any("session" in ast.unparse(d) for d in f.decorator_list)}


# ------------------------------------------------------------------------------------------------ Python versions


def find_version_faults(settings: dict[str, Any], workflow: dict[str, Any], readme: str) -> list[str]:
    """Where the Python versions of classifiers, matrices, ``requires-python``, ruff, mypy and README differ."""
    own = settings["project"]
    pattern = r"Programming Language :: Python :: (3\.\d+)"
    versions = [found[1] for c in own["classifiers"] if (found := re.fullmatch(pattern, c))]
    first, last = versions[0], versions[-1]
    faults = []
    for name, job in workflow["jobs"].items():
        matrix = job.get("strategy", {}).get("matrix")
        if matrix and matrix["python"] != versions:
            faults.append(f"matrix of {name} has {matrix['python']}, the classifiers {versions}")
        for step in job["steps"]:
            python = str(step.get("with", {}).get("python-version", first))
            if not python.startswith("${{") and python != first:
                faults.append(f"{name} runs on {python}, the oldest is {first}")
    if own["requires-python"] != f">={first}":
        faults.append(f"requires-python is {own['requires-python']}, the first classifier {first}")
    if settings["tool"]["ruff"]["target-version"] != "py" + first.replace(".", ""):
        faults.append(f"ruff's target-version is not {first}")
    if settings["tool"]["mypy"]["python_version"] != first:
        faults.append(f"mypy's python_version is not {first}")
    if f"Python {first} to {last}" not in readme:
        faults.append(f"README does not say Python {first} to {last}")
    return faults


def test_python_versions_are_the_same_everywhere() -> None:
    assert find_version_faults(project(), load_yaml(".github/workflows/ci.yml"), read("README.md")) == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pyproject.toml", '  "Programming Language :: Python :: 3.14",\n', ""),
        ("pyproject.toml", 'requires-python = ">=3.11"', 'requires-python = ">=3.12"'),
        ("pyproject.toml", 'target-version = "py311"', 'target-version = "py312"'),
        ("pyproject.toml", 'python_version = "3.11"', 'python_version = "3.12"'),
        (".github/workflows/ci.yml", ', "3.14"]', "]"),
        (".github/workflows/ci.yml", 'python-version: "3.11"', 'python-version: "3.10"'),
        ("README.md", "Python 3.11 to 3.14", "Python 3.11 to 3.13"),
    ],
)
def test_another_python_version_in_one_place_is_found(name: str, old: str, new: str) -> None:
    texts = {path: read(path) for path in ("pyproject.toml", ".github/workflows/ci.yml", "README.md")}
    assert old in texts[name]
    texts[name] = texts[name].replace(old, new)
    settings, workflow, readme = texts.values()
    assert find_version_faults(tomllib.loads(settings), yaml.safe_load(workflow), readme)


# ------------------------------------------------------------------------------------------------ the version


def test_the_version_stands_in_one_place() -> None:
    settings = project()
    assert "version" not in settings["project"]
    assert settings["project"]["dynamic"] == ["version"]
    source = read(settings["tool"]["hatch"]["version"]["path"])
    assert source.count(f'__version__ = "{__version__}"') == 1
    assert "version" not in yaml.safe_load(read("CITATION.cff"))


def test_files_of_tests_have_names_of_their_own() -> None:
    """Of two with one name pytest would take the first for the second."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    assert sorted(names) == sorted(set(names))


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "src/imago/py.typed").is_file()
    assert "Typing :: Typed" in project()["project"]["classifiers"]


# ------------------------------------------------------------------------------------------------ the changelog


def find_changelog_faults(text: str, version: str) -> list[str]:
    """Unknown, empty or misplaced parts; the newest must be "Unreleased", the next, if any, ``version``."""
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    names = [found[1] for title in titles if (found := re.match(r"\[([^\]]+)\]", title))]
    faults = [f"{title!r} is not [Unreleased] or [1.2.3] - YYYY-MM-DD" for title in titles if not is_heading(title)]
    if names[:1] != ["Unreleased"]:
        faults.append("the first part is not [Unreleased]")
    if names[1:2] not in ([], [version]):
        faults.append(f"the newest release is {names[1]}, __version__ is {version}")
    for name, part in zip(titles, re.split(r"^## .*$", text, flags=re.MULTILINE)[1:], strict=True):
        kinds = re.findall(r"^### (.*)$", part, re.MULTILINE)
        if kinds != [section for section in SECTIONS if section in kinds]:
            faults.append(f"{name}: sections are {kinds}; choose from {SECTIONS}, each once, in this order")
        if re.search(r"^- ", part.partition("### ")[0], re.MULTILINE):
            faults.append(f"{name}: a line stands before its section")
        faults += [f"{name}: {kind} is empty" for kind in kinds if not re.search(rf"^### {kind}\n\n- ", part, re.M)]
    return faults


def is_heading(title: str) -> bool:
    return title == "[Unreleased]" or re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", title) is not None


def test_the_changelog_keeps_its_form() -> None:
    assert find_changelog_faults(read("CHANGELOG.md"), __version__) == []


GOOD_CHANGELOG = """# Changelog\n\n## [Unreleased]\n\n### Added\n\n- a\n\n### Fixed\n\n- b\n
## [0.1.0] - 2026-12-01\n\n### Added\n\n- c\n"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("## [Unreleased]", "## 0.2.0 (not yet released)"),
        ("## [Unreleased]", "## [0.2.0] - 2026-12-09"),
        ("[0.1.0]", "[0.0.9]"),
        ("### Fixed", "### Mended"),
        ("### Fixed", "### Added"),
        ("- b\n", ""),
        ("## [Unreleased]\n", "## [Unreleased]\n\n- a line of its own\n"),
    ],
)
def test_a_changelog_of_another_form_is_found(old: str, new: str) -> None:
    assert find_changelog_faults(GOOD_CHANGELOG, "0.1.0") == []
    assert find_changelog_faults(GOOD_CHANGELOG.replace(old, new, 1), "0.1.0")


# ------------------------------------------------------------------------------------------------ commands


def find_command_faults(text: str, root: Path, extras: set[str], sessions: set[str]) -> list[str]:
    """Commands of the ``console`` blocks (and ``nox`` in running text) that name what is not there."""
    lines = [
        line[2:] for block in re.findall(r"^```console\n(.*?)^```", text, re.S | re.M) for line in block.split("\n")
    ]
    commands = [shlex.split(part) for line in lines if line for part in line.split("&&")]
    commands += [shlex.split(words) for words in re.findall(r"`(nox[^`]*)`", text)]
    return [fault for command in commands for fault in check_command(command, root, extras, sessions)]


def check_command(command: list[str], root: Path, extras: set[str], sessions: set[str]) -> list[str]:
    match command:
        case ["git", "clone", _] | ["cd", _] | [".", _] | ["python", "-m", "venv", _] | ["nox"]:
            return []
        case ["nox", "-s", session, *rest] if session in sessions:
            scripts = rest[1:2] if session == "bench" else []
            return [f"no benchmarks/{name}" for name in scripts if not (root / "benchmarks" / name).is_file()]
        case ["pip", "install", "-e", what] if found := re.fullmatch(r"\.\[(\w+)\]", what):
            return [] if found[1] in extras else [f"no extra {found[1]}"]
        case ["pre-commit", "install"]:
            return [] if (root / ".pre-commit-config.yaml").is_file() else ["no .pre-commit-config.yaml"]
        case ["pytest" | "ruff", *rest]:
            paths = [word for word in rest if "/" in word or word.endswith((".py", ".md"))]
            return [f"{' '.join(command)}: no {path}" for path in paths if not (root / path).exists()]
    return [f"{' '.join(command)}: no such command is known"]


def test_the_commands_of_contributing_name_what_is_there() -> None:
    text, sessions = read("CONTRIBUTING.md"), find_sessions(read("noxfile.py"))
    assert find_command_faults(text, ROOT, set(project()["project"]["optional-dependencies"]), sessions) == []
    assert all(f"`nox -s {session}`" in text for session in sessions)


@pytest.mark.parametrize(
    "command",
    [
        "nox -s tests",
        "nox -s bench -- gone.py",
        'pip install -e ".[developer]"',
        "pre-commit install",  # in a folder without its file
        "pytest tests/test_gone.py",
        "make test",
    ],
)
def test_a_command_that_names_something_else_is_found(command: str, tmp_path: Path) -> None:
    assert len(find_command_faults(f"```console\n$ {command}\n```\n", tmp_path, {"dev"}, FIVE_WORDS)) == 1


def test_nox_knows_the_five_words_and_names_files_that_exist() -> None:
    text = read("noxfile.py")
    assert find_sessions(text) == FIVE_WORDS
    names = set(re.findall(r"(?:samples|tests|benchmarks)/[\w./-]+", text))
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []


def test_the_places_that_contributing_names_exist() -> None:
    text = read("CONTRIBUTING.md")
    places = set(re.findall(r"`((?:models|data|cli|docs|benchmarks)/[\w./-]*)`", text))
    assert {"models/semantic/", "data/formats/"} <= places
    missing = [
        place for place in sorted(places) if not any((top / place).exists() for top in (ROOT, ROOT / "src/imago"))
    ]
    assert missing == []
    assert "ARCHITECTURES" in read("src/imago/models/catalog.py")
    assert "COMMANDS" in read("src/imago/cli/main.py")


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_lead_somewhere(document: str) -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)", read(document)) if "://" not in target]
    assert [target for target in targets if not (ROOT / target).exists()] == []


# ------------------------------------------------------------------------------------------------ hooks


def find_hook_faults(config: dict[str, Any]) -> list[str]:
    """Hooks that bring their own tool, or settings that pyproject.toml does not know of."""
    faults = [f"{repo['repo']} brings its own tools" for repo in config["repos"] if repo["repo"] != "local"]
    for hook in [hook for repo in config["repos"] for hook in repo["hooks"]]:
        if hook.get("language") != "system":
            faults.append(f"{hook['id']} does not run in the dev environment")
        words = [*shlex.split(hook.get("entry", "")), *hook.get("args", [])]
        if words[:1] not in (["ruff"], ["mypy"]):
            faults.append(f"{hook['id']} is neither ruff nor mypy")
        allowed = {"--fix", "--force-exclude"}
        faults += [f"{hook['id']}: {word}" for word in words if word.startswith("-") and word not in allowed]
        if words[:1] == ["mypy"] and hook.get("pass_filenames", True):
            faults.append("mypy gets file names in place of [tool.mypy] files")
    return faults


def test_hooks_use_the_projects_own_tools_and_settings() -> None:
    config = load_yaml(".pre-commit-config.yaml")
    assert find_hook_faults(config) == []
    assert [hook["id"] for hook in config["repos"][0]["hooks"]] == ["ruff-check", "ruff-format", "mypy"]
    assert [name for name in OTHER_SETTINGS if (ROOT / name).exists()] == []
    assert {"ruff", "mypy"} <= project()["tool"].keys()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("repo: local", "repo: https://example.org/ruff"),
        ("entry: mypy", "entry: mypy --strict"),
        ("entry: ruff format", "entry: ruff format --line-length 100"),
        ("language: system", "language: python"),
        ("pass_filenames: false", "pass_filenames: true"),
        ("entry: mypy", "entry: pyright"),
    ],
)
def test_a_hook_with_settings_of_its_own_is_found(old: str, new: str) -> None:
    text = read(".pre-commit-config.yaml")
    assert old in text
    assert find_hook_faults(yaml.safe_load(text.replace(old, new, 1)))


def test_editors_and_ruff_agree() -> None:
    found = re.search(r"^max_line_length = (\d+)$", read(".editorconfig"), re.MULTILINE)
    assert found is not None
    assert int(found[1]) == project()["tool"]["ruff"]["line-length"]


# ------------------------------------------------------------------------------------------------ workflows


def find_workflow_faults(workflow: dict[str, Any], sessions: set[str], root: Path) -> list[str]:
    """Actions without an exact version, rights of the whole workflow beyond reading, what the steps name and is not."""
    faults = [] if workflow.get("permissions") == {"contents": "read"} else ["permissions are not contents: read"]
    for name, job in workflow["jobs"].items():
        if "uses" in job:
            faults += [f"{name}: no {job['uses']}"] if not (root / job["uses"]).is_file() else []
            continue
        if "timeout-minutes" not in job:
            faults.append(f"{name} may run for ever")
        extra = {right for right, value in job.get("permissions", {}).items() if value == "write"} - {"id-token"}
        faults += [f"{name} may write {right}" for right in sorted(extra)]
        for step in job["steps"]:
            if not re.fullmatch(r"[\w./-]+@v\d+\.\d+\.\d+", step.get("uses", "a@v1.0.0")):
                faults.append(f"{name}: {step['uses']} is not an exact version")
            run = step.get("run", "")
            faults += [f"{name}: no nox session {s}" for s in re.findall(r"nox -s (\w+)", run) if s not in sessions]
            faults += [f"{name}: no {s}" for s in re.findall(r"samples/[\w.-]+", run) if not (root / s).is_file()]
    return faults


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_pinned_and_may_only_read(path: Path) -> None:
    assert find_workflow_faults(yaml.safe_load(path.read_text("utf-8")), FIVE_WORDS, ROOT) == []


def test_there_are_workflows_for_every_change_and_for_a_release() -> None:
    assert {path.name for path in WORKFLOWS} == {"ci.yml", "release.yml"}
    ran = re.findall(r"nox -s (\w+)", read(".github/workflows/ci.yml"))
    assert set(ran) == FIVE_WORDS - {"bench"}  # figures of a shared machine say nothing


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("actions/checkout@v7.0.1", "actions/checkout@main"),
        ("actions/checkout@v7.0.1", "actions/checkout@v7"),
        ("contents: read", "contents: write"),
        ("    timeout-minutes: 30\n", ""),
        ("    timeout-minutes: 30\n", "    timeout-minutes: 30\n    permissions:\n      packages: write\n"),
        ("nox -s lint", "nox -s check"),
        ("samples/astronaut.jpg", "samples/gone.jpg"),
    ],
)
def test_a_workflow_with_too_much_or_too_little_is_found(old: str, new: str) -> None:
    text = read(".github/workflows/ci.yml")
    assert old in text
    assert find_workflow_faults(yaml.safe_load(text.replace(old, new, 1)), FIVE_WORDS, ROOT)


# ------------------------------------------------------------------------------------------------ forms


def test_issue_forms_can_be_filled_in() -> None:
    forms = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
    assert len(forms) >= 2
    for path in forms:
        form = yaml.safe_load(path.read_text("utf-8"))
        assert {"name", "description", "body"} <= form.keys(), path.name
        asked = [part for part in form["body"] if part["type"] != "markdown"]
        assert len({part["id"] for part in asked}) == len(asked), path.name
        assert all(part["attributes"]["label"] for part in asked), path.name
        assert any(part.get("validations", {}).get("required") for part in asked), path.name


def test_one_address_of_the_repository() -> None:
    home = project()["project"]["urls"]["Source"]
    names = ["pyproject.toml", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "CITATION.cff"]
    names += [path.relative_to(ROOT).as_posix() for path in (ROOT / ".github").rglob("*.yml")]
    addresses = {address for name in names for address in re.findall(r"https://github\.com/[\w.-]+/[\w-]+", read(name))}
    assert addresses == {home}
    assert yaml.safe_load(read("CITATION.cff"))["license"] == project()["project"]["license"]
