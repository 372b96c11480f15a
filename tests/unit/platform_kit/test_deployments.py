"""What can be checked of the container, the compose file and the chart without an engine."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from unspread.platform_kit.commands import platform
from unspread.platform_kit.settings import Settings

DEPLOY = Path("deploy/platform")
yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.long
"""PyYAML comes with what the long tests need."""


def values() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())


def rendered() -> dict[str, dict[str, Any]]:
    """The chart's objects by kind, for the few forms of templates that it uses."""

    def replaced(match: re.Match[str]) -> str:
        name, _, form = (part.strip() for part in match[1].partition("|"))
        if name == ".Release.Name":
            return "kit"
        value: Any = values()
        for part in name.removeprefix(".Values.").split("."):
            value = value[part]
        return json.dumps(value) if form in {"quote", "toJson"} else str(value)

    text = (DEPLOY / "helm" / "templates" / "kit.yaml").read_text()
    made = re.sub(r"\{\{(.*?)\}\}", replaced, text)
    assert "{{" not in made
    return {each["kind"]: each for each in yaml.safe_load_all(made)}


def accepts(arguments: list[str]) -> None:
    """Fail if the command line does not know every option."""
    command, *rest = arguments
    shown = CliRunner().invoke(platform, [command, "--help"]).output
    assert all(word in shown for word in rest if word.startswith("--"))


def test_the_chart_gives_objects_that_fit_together(tmp_path):
    objects = rendered()
    pod = objects["StatefulSet"]["spec"]["template"]
    assert objects["StatefulSet"]["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"] == pod["metadata"]["labels"]
    (container,) = pod["spec"]["containers"]
    claims = objects["StatefulSet"]["spec"]["volumeClaimTemplates"]
    volumes = {each["name"] for each in pod["spec"]["volumes"]}
    volumes |= {each["metadata"]["name"] for each in claims}
    assert {each["name"] for each in container["volumeMounts"]} == volumes
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert pod["spec"]["securityContext"]["runAsUser"] == 10001
    accepts(container["args"])
    chart = yaml.safe_load((DEPLOY / "helm" / "Chart.yaml").read_text())
    assert {"apiVersion", "name", "version"} <= set(chart)

    (tmp_path / "platform.toml").write_text(objects["ConfigMap"]["data"]["platform.toml"])
    assert Settings.load(tmp_path).lists["unspread"].actions.unverified == "hold"


def test_the_compose_file_builds_the_container_and_lets_it_write_its_data_alone():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    kit = compose["services"]["kit"]
    assert (DEPLOY / kit["build"]["context"] / kit["build"]["dockerfile"]).is_file()
    assert kit["read_only"] is True
    assert [each.split(":")[0] for each in kit["volumes"]] == list(compose["volumes"])


def test_the_container_serves_as_a_user_without_rights():
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    assert "USER 10001" in lines
    (start,) = [line for line in lines if line.startswith("CMD [")]
    accepts(json.loads(start.removeprefix("CMD ")))
    assert "parquet" in "".join(lines)
