"""Answers requests, one JSON object per line, with Helm's own engine. Read by helm.rs."""

import json
import re
import sys
import time

import helm_python as helm

CLUSTER = """
apiVersion: v1
kind: Config
current-context: none
contexts: [{name: none, context: {cluster: none, user: none}}]
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {}}]
"""

SETS = {
    "set": helm.parse_set_string,
    "set-string": helm.parse_set_string_values,
    "set-json": helm.parse_set_json,
    "set-literal": helm.parse_set_literal,
}


def merged(under, over):
    result = dict(under)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            value = merged(result[key], value)
        result[key] = value
    return result


def values_of(request):
    values = {}
    for path in request["values"]:
        with open(path, encoding="utf-8") as file:
            # The program reads all documents of a file, the library only the first.
            for document in re.split(r"(?m)^---\s*$", file.read()):
                values = merged(values, helm.values_from_yaml(document))
    return values


def render(request):
    values = values_of(request)
    start = time.perf_counter()
    with helm.Chart.load(request["chart"]) as chart:
        texts = chart.render(values, name=request["name"], namespace=request["namespace"])
        seconds = time.perf_counter() - start
        answer = {"texts": texts, "seconds": seconds}
    if request["manifest"]:
        # Rendering changes the chart: its dependencies are processed in place.
        with helm.Chart.load(request["chart"]) as chart:
            with helm.Config(kubeconfig_content=CLUSTER, storage_driver="memory") as config:
                answer["manifest"] = config.install(
                    chart, request["name"], values, dry_run="client", namespace=request["namespace"]
                ).get("manifest", "")
    return answer


def answer(request):
    try:
        if "set" in request:
            return {"value": SETS[request["kind"]](request["set"])}
        return render(request)
    except helm.HelmError as error:
        return {"error": str(error)}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
