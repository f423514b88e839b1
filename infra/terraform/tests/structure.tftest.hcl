# What is made of which variables. The provider is a mock: no policy is rendered here (policies.tftest.hcl).

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_ec2_instance_type_offerings" {
    defaults = { instance_types = ["g6e.xlarge", "g6e.2xlarge", "g6e.12xlarge"] }
  }

  mock_data "aws_servicequotas_service_quota" {
    defaults = { value = 64, quota_name = "All G and VT Spot Instance Requests" }
  }
}

variables {
  region          = "us-east-1"
  zones           = ["us-east-1a", "us-east-1b", "us-east-1c"]
  bucket          = "lab-medreason"
  head_image_id   = "ami-0123456789abcdef0"
  worker_image_id = "ami-0123456789abcdef1"
}

run "defaults" {
  command = plan

  assert {
    condition     = length(module.network.subnets) == 3 && length(module.network.interface_endpoints) == 3
    error_message = "One private subnet a zone and three interface endpoints are expected."
  }

  assert {
    condition     = output.places.published == "s3://lab-medreason/published/"
    error_message = "The places of the bucket are not what the README says."
  }
}

run "a_small_quota_warns" {
  command = plan

  variables {
    max_workers = 100
  }

  expect_failures = [check.gpu_quota]
}

run "without_a_look_at_the_quota" {
  command = plan

  variables {
    max_workers     = 100
    check_gpu_quota = false
  }
}

run "one_zone_on_demand_no_flow_logs" {
  command = plan

  variables {
    zones                   = ["us-east-1a"]
    markets                 = ["on-demand"]
    flow_logs               = false
    schedule_window_minutes = 0
    create_spot_role        = true
  }

  assert {
    condition     = length(module.network.subnets) == 1 && length(aws_iam_service_linked_role.spot) == 1
    error_message = "One subnet and the role for spot are expected."
  }
}
