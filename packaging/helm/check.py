"""Renders the chart with Helm for each file of values in ci/, and holds what comes out against
the schemas of its kinds, against docs/, and against what each file of values asks for."""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

import helm_python as helm
import kubernetes_validate
import yaml

import settings

HERE = pathlib.Path(__file__).parent
ROOT = settings.ROOT
CHART = HERE / "longhaul"
MODULES = sys.argv[1]
# The oldest that Chart.yaml allows, and the newest whose schemas are there.
VERSIONS = ["1.27", "1.37"]
wrong = []


def refuse(where, what):
    wrong.append(f"{where}: {what}")


def render(values):
    with helm.Chart.load(CHART) as chart:
        return chart.render(values, name="trial", namespace="tasks")


def manifests(rendered):
    for path, text in sorted(rendered.items()):
        if not path.endswith("NOTES.txt"):
            yield from (document for document in yaml.safe_load_all(text) if document)


def containers(manifest):
    spec = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return spec.get("containers", []), spec


def check_kinds(name, documents):
    others = []
    for document in documents:
        if document["apiVersion"].split("/")[0] in ("keda.sh", "monitoring.coreos.com"):
            others.append(document)
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                refuse(name, f"{document['kind']} {document['metadata']['name']} ({version}): {error.message}")
    read = subprocess.run(
        ["node", HERE / "kinds.js", MODULES], input=json.dumps(others), capture_output=True, text=True
    )
    if read.returncode:
        refuse(name, read.stderr.strip())


def check_against_docs(name, documents):
    """Variables, flags, keys of the file and metrics are ones that the program has."""
    metrics = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/metrics.md").read_text(), re.M))
    for document in documents:
        for container in containers(document)[0]:
            variables = [entry["name"] for entry in container.get("env", [])]
            for fault in settings.unknown(container["args"], variables):
                refuse(name, fault)
        if document["kind"] == "ConfigMap":
            for file, text in document["data"].items():
                part = "serve" if file == "serve.toml" else "work"
                keys = tomllib.loads(text)
                own = keys.pop("commands", {}).get(part, {})
                for key in [*keys, *own]:
                    if key not in settings.FLAGS or key in own and part not in settings.FLAGS[key]:
                        refuse(name, f"{file}: there is no setting {key} of `longhaul {part}`")
        if document["kind"] == "ScaledObject":
            for metric in re.findall(r"longhaul_\w+", document["spec"]["triggers"][0]["metadata"]["query"]):
                if metric not in metrics:
                    refuse(name, f"docs/metrics.md has no {metric}")


def check_safety(name, documents):
    for document in documents:
        for container in containers(document)[0]:
            pod, own = containers(document)[1]["securityContext"], container["securityContext"]
            safe = (
                pod["runAsNonRoot"]
                and own["readOnlyRootFilesystem"]
                and not own["allowPrivilegeEscalation"]
                and own["capabilities"] == {"drop": ["ALL"]}
            )
            if not safe or "limits" not in container["resources"]:
                refuse(name, f"{document['metadata']['name']} runs with more than it needs")


def check_names(name, documents):
    """What refers to something by name or labels finds it."""
    pods = {
        document["metadata"]["name"]: document["spec"]["template"]["metadata"]["labels"]
        for document in documents
        if document["kind"] in ("Deployment", "Job")
    }
    services = [document["metadata"]["labels"] for document in documents if document["kind"] == "Service"]
    for document in documents:
        kind, spec = document["kind"], document.get("spec", {})
        labels = {
            "Deployment": lambda: spec["selector"]["matchLabels"],
            "PodDisruptionBudget": lambda: spec["selector"]["matchLabels"],
            "Service": lambda: spec["selector"],
            "NetworkPolicy": lambda: spec["podSelector"]["matchLabels"],
            "ServiceMonitor": lambda: spec["selector"]["matchLabels"],
        }.get(kind, lambda: None)()
        among = services if kind == "ServiceMonitor" else pods.values()
        if labels is not None and not any(labels.items() <= found.items() for found in among):
            refuse(name, f"{kind} {document['metadata']['name']} selects nothing")
        if kind == "ScaledObject" and spec["scaleTargetRef"]["name"] not in pods:
            refuse(name, f"{document['metadata']['name']} scales nothing")
    identities = [(document["kind"], document["metadata"]["name"]) for document in documents]
    if len(identities) != len(set(identities)):
        refuse(name, "two manifests have the same name")


def expect(what, holds):
    if not holds:
        refuse("ci", what)


def check_what_values_do(by_name):
    def find(values, kind, name):
        found = [d for d in by_name[values] if d["kind"] == kind and d["metadata"]["name"] == name]
        return found[0] if found else None

    kinds = {document["kind"] for document in by_name["full"]}
    expected = "ConfigMap Deployment Ingress Job NetworkPolicy PodDisruptionBudget ScaledObject Service ServiceAccount ServiceMonitor"
    expect(f"full.yaml makes {sorted(kinds)}", kinds == set(expected.split()))
    expect("a key without a name is left out", "LONGHAUL_SECRET\n" not in yaml.safe_dump(by_name["open"]))
    api = find("open", "Deployment", "tasks-api")
    expect("open.yaml is open", "--open-to-all" in api["spec"]["template"]["spec"]["containers"][0]["args"])
    expect("an entry of `workers` can be taken away", find("open", "Deployment", "tasks-work-default") is None)
    expect("a budget can be left out", find("open", "PodDisruptionBudget", "tasks-work-all") is None)
    scaled = find("full", "ScaledObject", "trial-longhaul-work-mail")
    expect("nought replicas are nought", scaled["spec"].get("minReplicaCount") == 0)
    expect("the threshold is the slots", scaled["spec"]["triggers"][0]["metadata"]["threshold"] == "8")
    expect("KEDA alone sets replicas", "replicas" not in find("full", "Deployment", "trial-longhaul-work-mail")["spec"])
    pod = find("full", "Deployment", "trial-longhaul-work-default")["spec"]["template"]["spec"]
    expect("a pod may drain", pod["terminationGracePeriodSeconds"] >= 120 + 10)


def check_refusals():
    least = yaml.safe_load((CHART / "ci/least.yaml").read_text())
    refused = {
        "no database": {"database": {"existingSecret": ""}},
        "no secrets": {"secrets": {"existingSecret": ""}},
        "open by accident": {"api": {"authenticate": False}},
        "a slip of the pen": {"api": {"replica": 3}},
        "a slip in a worker": {"workers": {"default": {"slot": 3}}},
        "no slots": {"workers": {"default": {"slots": 0}}},
        "a name that is no label": {"workers": {"Mail_Queue": {}}},
        "a secret in the configuration": {"config": {"secret-key": "00"}},
        "half a digest": {"image": {"digest": "sha256:12"}},
    }
    for name, values in refused.items():
        try:
            render(least | values)
        except helm.HelmError:
            continue
        refuse(name, "the chart takes it")


def check_versions():
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    if not version == chart["version"] == chart["appVersion"]:
        refuse("Chart.yaml", f"the workspace is {version}")


check_versions()
linted = helm.lint(str(CHART), yaml.safe_load((CHART / "ci/least.yaml").read_text()))
for message in linted.get("messages", []):
    if message["severity"] != 1:
        refuse("lint", message["error"])
by_name = {}
for values in sorted((CHART / "ci").glob("*.yaml")):
    documents = list(manifests(render(yaml.safe_load(values.read_text()))))
    by_name[values.stem] = documents
    for check in (check_kinds, check_against_docs, check_safety, check_names):
        check(values.name, documents)
check_what_values_do(by_name)
check_refusals()
for line in wrong:
    print(line, file=sys.stderr)
if wrong:
    sys.exit(1)
print(f"helm chart: {sum(map(len, by_name.values()))} manifests of {len(by_name)} sets of values are as they should be")
