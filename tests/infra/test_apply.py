"""The whole configuration in a mock cloud: apply, a second plan without changes, destroy."""

from __future__ import annotations

import pytest

from tests.infra.conftest import Stack

pytestmark = pytest.mark.slow


def test_apply_then_an_empty_plan_then_destroy(stack: Stack) -> None:
    print(f"{stack.added} added, second plan {stack.second_plan}, {stack.destroyed} destroyed")
    assert stack.second_plan == 0, stack.second_plan_text[-3000:]
    assert "No changes. Your infrastructure matches the configuration." in stack.second_plan_text
    assert stack.added == stack.destroyed > 60
    assert stack.left == []


def test_everything_that_can_carry_them_carries_both_tags(stack: Stack) -> None:
    kinds = [
        "aws_s3_bucket",
        "aws_kms_key",
        "aws_vpc",
        "aws_subnet",
        "aws_vpc_endpoint",
        "aws_security_group",
        "aws_iam_role",
    ]
    kinds += [
        "aws_instance",
        "aws_network_interface",
        "aws_launch_template",
        "aws_emrserverless_application",
        "aws_sns_topic",
    ]
    kinds += ["aws_sfn_state_machine", "aws_cloudwatch_log_group", "aws_cloudwatch_metric_alarm", "aws_ssm_document"]
    kinds += ["aws_budgets_budget", "aws_iam_instance_profile", "aws_flow_log", "aws_vpc_security_group_ingress_rule"]
    for kind in kinds:
        for address, values in stack.resources(kind).items():
            assert values["tags_all"] | {"project": "medreason-dist", "cluster": "medreason"} == values["tags_all"], (
                address
            )


def test_no_way_in_and_one_way_out(stack: Stack) -> None:
    assert not stack.resources("aws_internet_gateway") and not stack.resources("aws_nat_gateway")
    for rule in stack.resources("aws_vpc_security_group_ingress_rule").values():
        assert rule["referenced_security_group_id"] and not rule["cidr_ipv4"] and not rule["cidr_ipv6"]
    for rule in stack.resources("aws_vpc_security_group_egress_rule").values():
        assert rule["referenced_security_group_id"] or rule["prefix_list_id"]
        assert not rule["cidr_ipv4"] and not rule["cidr_ipv6"]
    assert all(not subnet["map_public_ip_on_launch"] for subnet in stack.resources("aws_subnet").values())
    assert sorted(each["service_name"].rsplit(".", 1)[1] for each in stack.resources("aws_vpc_endpoint").values()) == [
        "ec2",
        "s3",
        "ssm",
        "ssmmessages",
    ]


def test_nothing_secret_in_the_state(stack: Stack) -> None:
    # Only names are known; a value would have had to be read.
    assert set(stack.resources("aws_ssm_parameter")) == {'data.aws_ssm_parameter.image["head"]'}
