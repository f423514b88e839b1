# The front door: one line each over plain commands, which README.md shows too.
# The lock files are for Python 3.11; another one: make PYTHON=/path/to/python3.11 demo
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
TERRAFORM := terraform -chdir=infra/terraform
QUICKSTART := --config configs/quickstart.yaml

.PHONY: help demo test test-fast check bench chaos plan apply submit destroy docs lock clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.cpu: requirements/cpu.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --no-deps -r requirements/cpu.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

.venv/.test: .venv/.cpu requirements/test.txt
	$(BIN)/pip install --quiet --no-deps -r requirements/test.txt
	touch $@

# Its own: checkov names one exact boto3.
.venv-infra/.made: requirements/infra.txt
	$(PYTHON) -m venv .venv-infra
	.venv-infra/bin/pip install --quiet --no-deps -r requirements/infra.txt
	touch $@

.models: .venv/.cpu
	$(BIN)/python examples/quickstart/make_models.py $@

demo: .venv/.cpu .models  ## set up, run the quickstart on this machine's CPU, show what came out
	$(BIN)/python jobs/build_neighborhoods.py $(QUICKSTART)
	$(BIN)/python jobs/embed_entities.py $(QUICKSTART)
	$(BIN)/python jobs/generate.py $(QUICKSTART)
	$(BIN)/python jobs/report.py $(QUICKSTART)

test: .venv/.test .venv-infra/.made .models  ## set up, run all tests (Java 17 for Spark, Terraform for infra/)
	$(BIN)/python -m pytest

test-fast: .venv/.test  ## the tests without Spark, Ray, models and servers
	$(BIN)/python -m pytest -m "not spark and not ray and not model and not s3 and not slow"

check: .venv/.test  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.test .models  ## measure the main job beside bare vLLM, and the graph at the published size
	$(BIN)/python -m benchmarks.generation $(QUICKSTART)
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.decontamination
	$(BIN)/python -m benchmarks.graph 1 $(wildcard .venv/lib/python3*/site-packages/zingg/jars/zingg-*.jar)

chaos: .venv/.test .models  ## kill runs a hundred times at random and compare what comes out (about an hour)
	$(BIN)/python -m benchmarks.chaos

plan:  ## what Terraform would change in the AWS account of infra/terraform/terraform.tfvars
	$(TERRAFORM) init -input=false
	$(TERRAFORM) plan

apply:  ## make or change it, after a question
	$(TERRAFORM) init -input=false
	$(TERRAFORM) apply

submit: .venv/.cpu  ## submit a run through an open session to the head (docs/operations.md); make submit ARGS="run.limit=100"
	$(BIN)/ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/generate.py --config configs/aws.yaml $(ARGS)

destroy:  ## delete it, after a question
	$(TERRAFORM) destroy

docs: .venv/.test  ## write docs/configuration.md from the docstrings of config.py
	$(BIN)/python scripts/docs.py

lock:  ## resolve requirements/*.in anew (needs uv)
	scripts/lock

clean:  ## remove what `make demo` wrote, but for .venv and .models
	rm -rf runs graph
