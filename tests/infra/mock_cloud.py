"""AWS on this machine: moto's server, with what the AWS provider 5.100 expects and moto 5.2 answers otherwise.

Run by the Python that has moto: ``python mock_cloud.py PORT``. moto is reached by import_module, for the environment that
checks types has none.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

from_moto = import_module


def repair_emr_serverless() -> None:
    """An application is created once, in the API's spelling, and keeps its architecture.

    The provider waits for CREATED, where moto says STARTED at once; sends ``spark``, where moto knows ``SPARK`` only; and
    reads back the architecture, which moto forgets.
    """
    models: Any = from_moto("moto.emrserverless.models")
    responses: Any = from_moto("moto.emrserverless.responses")
    models.APPLICATION_STATUS = "CREATED"
    backend, response = models.EMRServerlessBackend, responses.EMRServerlessResponse
    create_model, create, get = backend.create_application, response.create_application, response.get_application
    architectures: dict[str, str] = {}

    def create_in_capitals(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "application_type" in kwargs:
            kwargs["application_type"] = kwargs["application_type"].upper()
        return create_model(self, *args, **kwargs)

    def create_application(self: Any) -> Any:
        answer = create(self)
        architectures[answer.result["applicationId"]] = self._get_param("architecture") or "X86_64"
        return answer

    def get_application(self: Any) -> Any:
        answer = get(self)
        application = answer.result["application"]
        if isinstance(application, dict):
            application["architecture"] = architectures.get(application["applicationId"])
        else:
            application.architecture = architectures.get(application.id)
        return answer

    backend.create_application = create_in_capitals
    response.create_application, response.get_application = create_application, get_application


def repair_step_functions() -> None:
    """The provider has definitions validated while it plans, and lists versions; moto has neither call."""
    result = from_moto("moto.core.responses").ActionResult
    parser = from_moto("moto.stepfunctions.parser.asl.parse.asl_parser").AmazonStateLanguageParser
    response = from_moto("moto.stepfunctions.responses").StepFunctionResponse

    def validate_state_machine_definition(self: Any) -> Any:
        try:
            parser.parse(self._get_param("definition"))
        except Exception as error:
            fault = {"severity": "ERROR", "code": "SCHEMA_VALIDATION_FAILED", "message": repr(error)[:500]}
            return result({"result": "FAIL", "truncated": False, "diagnostics": [fault]})
        return result({"result": "OK", "truncated": False, "diagnostics": []})

    response.validate_state_machine_definition = validate_state_machine_definition
    response.list_state_machine_versions = lambda self: result({"stateMachineVersions": []})


def repair_s3() -> None:
    """Emptying a versioned bucket disposes of delete markers, which moto cannot."""
    from_moto("moto.s3.models").FakeDeleteMarker.dispose = lambda self, garbage=False: None


def repair_ec2() -> None:
    """Descriptions of rules, the tags of a launch template itself, and an interface whose instance has ended.

    moto loses the first, gives the second to instances too, and keeps the third attached.
    """
    rule = from_moto("moto.ec2.models.security_groups").SecurityGroupRule
    backend = from_moto("moto.ec2.models.launch_templates").LaunchTemplateBackend
    instance = from_moto("moto.ec2.models.instances").Instance
    start, create, terminate = rule.__init__, backend.create_launch_template, instance.terminate

    def start_rule(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        targets = [kwargs.get(name) or {} for name in ("ip_range", "source_group", "prefix_list_id")]
        targets += [each for each in args if isinstance(each, dict)]
        self.told = next((target["Description"] for target in targets if "Description" in target), None)

    def create_launch_template(self: Any, name: str, description: str, data: dict[str, Any], tags: Any) -> Any:
        own = "launch-template"
        data["TagSpecifications"] = [each for each in data.get("TagSpecifications", []) if each["ResourceType"] != own]
        return create(self, name, description, data, tags)

    def terminate_and_free(self: Any) -> Any:
        state = terminate(self)
        for interface in self.nics.values():
            if not interface.delete_on_termination:
                interface.instance, interface.attachment_id, interface.status = None, None, "available"
        return state

    instance.terminate = terminate_and_free
    rule.__init__, rule.description = start_rule, property(lambda self: self.told)
    backend.create_launch_template = create_launch_template


def repair_quotas_and_budgets() -> None:
    """moto has the quotas of VPCs only, and keeps neither who hears of a budget nor its tags."""
    quotas = from_moto("moto.servicequotas.responses").ServiceQuotasResponse
    response = from_moto("moto.budgets.responses").BudgetsResponse
    create = response.create_budget
    budget_tags: dict[str, list[dict[str, str]]] = {}

    def tell_quota(self: Any) -> str:
        code = self._get_param("QuotaCode")
        quota = {"ServiceCode": "ec2", "QuotaCode": code, "QuotaName": "vCPUs of GPU instances", "Value": 64.0}
        return json.dumps({"Quota": quota | {"QuotaArn": f"arn:aws:servicequotas:us-east-1:123456789012:ec2/{code}"}})

    def describe_subscribers_for_notification(self: Any) -> str:
        budget = self.backend.budgets[self._get_param("AccountId")][self._get_param("BudgetName")]
        asked = self._get_param("Notification")
        found = [each.subscribers for each in budget.notifications if each.details["Threshold"] == asked["Threshold"]]
        return json.dumps({"Subscribers": found[0]})

    def list_tags_for_resource(self: Any) -> str:
        return json.dumps({"ResourceTags": budget_tags.get(self._get_param("ResourceARN"), [])})

    def create_budget(self: Any) -> str:
        arn = f"arn:aws:budgets::{self._get_param('AccountId')}:budget/{self._get_param('Budget')['BudgetName']}"
        budget_tags[arn] = self._get_param("ResourceTags", [])
        return str(create(self))

    quotas.get_service_quota = quotas.get_aws_default_service_quota = tell_quota
    response.describe_subscribers_for_notification = describe_subscribers_for_notification
    response.create_budget = create_budget
    response.list_tags_for_resource = list_tags_for_resource


if __name__ == "__main__":
    repair_emr_serverless()
    repair_step_functions()
    repair_s3()
    repair_ec2()
    repair_quotas_and_budgets()
    from_moto("moto.server").main(["-H", "127.0.0.1", "-p", sys.argv[1]])
