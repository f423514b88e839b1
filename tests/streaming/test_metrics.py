"""The dashboard draws metrics that there are. That they are there, test_cluster.py reads off a running cluster."""

from __future__ import annotations

import json
import re

from medreason_dist.streaming import metrics
from tests.conftest import ROOT


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    board = json.loads((ROOT / "infra/grafana/medreason.json").read_text(encoding="utf-8"))
    asked = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    documented = dict(re.findall(r"(ray_medreason_\w+)\{([^}]*)\}", metrics.__doc__ or ""))
    names = set(re.findall(r"ray_medreason_\w+", asked))
    assert names == set(documented)
    for name, tags in re.findall(r"(ray_medreason_\w+)\{([^}]*)\}", asked):
        assert set(re.findall(r"(\w+)[!=]", tags)) <= set(documented[name].split(", ")), (name, tags)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(board["panels"]) == len({panel["id"] for panel in board["panels"]})
