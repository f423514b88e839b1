# The real provider renders the policies; nothing is asked of a cloud, for what would be is overridden.

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "mock"
  secret_key                  = "mock"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

variables {
  region            = "us-east-1"
  zones             = ["us-east-1a", "us-east-1b"]
  bucket            = "lab-medreason"
  head_image_id     = "ami-0123456789abcdef0"
  worker_image_id   = "ami-0123456789abcdef1"
  secret_parameters = { OPENAI_API_KEY = "/medreason/openai" }
  check_gpu_quota   = false
}

override_data {
  target = module.storage.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = module.network.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = module.identity.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = module.schedule.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = data.aws_ec2_instance_type_offerings.workers
  values = { instance_types = ["g6e.xlarge", "g6e.2xlarge", "g6e.12xlarge"] }
}

override_resource {
  target          = module.storage.aws_s3_bucket.this
  override_during = plan
  values          = { id = "lab-medreason", arn = "arn:aws:s3:::lab-medreason" }
}

override_resource {
  target          = module.storage.aws_kms_key.this
  override_during = plan
  values          = { key_id = "key", arn = "arn:aws:kms:us-east-1:123456789012:key/key" }
}

override_resource {
  target          = module.network.aws_subnet.private
  override_during = plan
  values          = { id = "subnet-0123456789abcdef0", arn = "arn:aws:ec2:us-east-1:123456789012:subnet/subnet-0123456789abcdef0" }
}

override_resource {
  target          = module.network.aws_security_group.nodes
  override_during = plan
  values          = { id = "sg-0123456789abcdef0", arn = "arn:aws:ec2:us-east-1:123456789012:security-group/sg-0123456789abcdef0" }
}

override_resource {
  target          = module.network.aws_cloudwatch_log_group.flow
  override_during = plan
  values          = { arn = "arn:aws:logs:us-east-1:123456789012:log-group:/medreason/flow" }
}

override_resource {
  target          = module.ray.aws_launch_template.worker
  override_during = plan
  values          = { id = "lt-0123456789abcdef0", arn = "arn:aws:ec2:us-east-1:123456789012:launch-template/lt-0123456789abcdef0", latest_version = 1 }
}

override_resource {
  target          = module.ray.aws_network_interface.head
  override_during = plan
  values          = { id = "eni-0123456789abcdef0", private_ip = "10.80.0.10" }
}

override_resource {
  target          = module.ray.aws_instance.head
  override_during = plan
  values          = { id = "i-0123456789abcdef0", arn = "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0" }
}

override_resource {
  target          = module.ray.aws_ssm_document.job
  override_during = plan
  values          = { arn = "arn:aws:ssm:us-east-1:123456789012:document/medreason-job" }
}

override_resource {
  target          = module.spark.aws_emrserverless_application.this
  override_during = plan
  values          = { id = "00spark", arn = "arn:aws:emr-serverless:us-east-1:123456789012:/applications/00spark" }
}

override_resource {
  target          = module.schedule.aws_sns_topic.alerts
  override_during = plan
  values          = { arn = "arn:aws:sns:us-east-1:123456789012:medreason-alerts" }
}

override_resource {
  target          = module.schedule.aws_sfn_state_machine.this
  override_during = plan
  values          = { arn = "arn:aws:states:us-east-1:123456789012:stateMachine:medreason" }
}

run "roles" {
  command = plan

  # What each role may do, as role → list of statements, lists where AWS allows a string too.
  assert {
    condition = alltrue([
      for policy in module.identity.policies["worker"] : alltrue([
        for statement in jsondecode(policy).Statement : alltrue([
          for action in flatten([statement.Action]) : contains(["s3", "kms", "ssm", "ssmmessages"], split(":", action)[0])
        ])
      ])
    ])
    error_message = "A worker may do more than read and write the bucket and take sessions."
  }

  assert {
    condition = flatten([
      for policy in module.identity.policies["worker"] : [
        for statement in jsondecode(policy).Statement : statement.Resource if contains(flatten([statement.Action]), "s3:PutObject")
      ]
    ]) == ["arn:aws:s3:::lab-medreason/runs/*", "arn:aws:s3:::lab-medreason/logs/ray/*"]
    error_message = "A worker writes elsewhere than into runs/ and logs/ray/."
  }

  assert {
    condition = {
      for role, policies in module.identity.policies : role => flatten([
        for policy in policies : [
          for statement in jsondecode(policy).Statement : statement.Resource if contains(flatten([statement.Action]), "iam:PassRole")
        ]
      ])
      } == {
      head          = ["arn:aws:iam::123456789012:role/medreason-worker"]
      worker        = []
      spark         = []
      state-machine = ["arn:aws:iam::123456789012:role/medreason-spark"]
      scheduler     = []
    }
    error_message = "The head passes on the workers' role, the state machine Spark's, and nobody any other."
  }

  assert {
    condition = alltrue(flatten([
      for policies in values(module.identity.policies) : [
        for policy in policies : [
          for statement in jsondecode(policy).Statement : contains(keys(statement), "Condition") if contains(flatten([statement.Action]), "iam:PassRole")
        ]
      ]
    ]))
    error_message = "A role may be passed on to any service."
  }

  assert {
    condition = toset(flatten([
      for policies in values(module.identity.policies) : [
        for policy in policies : [
          for statement in jsondecode(policy).Statement : statement.Action if contains(flatten([statement.Resource]), "*")
        ]
      ]
      ])) == toset([
      "ec2:DescribeInstances", "ssm:DescribeInstanceInformation", "ssm:GetCommandInvocation",
      "ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel", "logs:CreateLogDelivery", "logs:GetLogDelivery",
      "logs:UpdateLogDelivery", "logs:DeleteLogDelivery", "logs:ListLogDeliveries", "logs:PutResourcePolicy",
      "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
    ])
    error_message = "An action other than those that know no narrower resource is allowed on \"*\"."
  }

  assert {
    condition = alltrue(flatten([
      for policies in values(module.identity.policies) : [
        for policy in policies : [
          for statement in jsondecode(policy).Statement : [for action in flatten([statement.Action]) : !strcontains(action, "*")]
        ]
      ]
    ]))
    error_message = "An action is a wildcard."
  }

  assert {
    condition = alltrue(flatten([
      for role in ["head", "state-machine"] : [
        for policy in module.identity.policies[role] : [
          for statement in jsondecode(policy).Statement : statement.Condition.StringEquals == {
            "ec2:ResourceTag/ray-cluster-name" = "medreason"
            "ec2:ResourceTag/ray-node-type"    = "worker"
          } if contains(flatten([statement.Action]), "ec2:TerminateInstances")
        ]
      ]
    ]))
    error_message = "More than the cluster's workers can be terminated."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(module.identity.policies["head"][2]).Statement :
      statement.Condition.ArnEquals["ec2:LaunchTemplate"] != [] if contains(flatten([statement.Action]), "ec2:RunInstances")
    ])
    error_message = "Instances can be started without the launch templates."
  }

  assert {
    condition = flatten([
      for policy in module.identity.policies["worker"] : [
        for statement in jsondecode(policy).Statement : statement.Resource if contains(flatten([statement.Action]), "ssm:GetParameter")
      ]
    ]) == ["arn:aws:ssm:us-east-1:123456789012:parameter/medreason/openai"]
    error_message = "A worker reads other parameters than the named ones."
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(module.storage.bucket_policy).Statement :
      statement.Effect == "Deny" && statement.Action == "s3:*" && statement.Principal == "*" && statement.Condition == { Bool = { "aws:SecureTransport" = "false" } }
    ])
    error_message = "The bucket does not deny requests without TLS."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(module.storage.bucket_policy).Statement : statement.Effect == "Deny"])
    error_message = "The bucket's policy allows somebody something."
  }

  assert {
    condition     = !strcontains(join("", values(module.ray.user_data)), "secret value") && length(module.ray.user_data["head"]) < 16384 && length(module.ray.user_data["worker"]) < 16384
    error_message = "User data is larger than the 16 KB that EC2 takes."
  }
}

run "types_that_cannot_be_had" {
  command = plan

  variables {
    workers = [{ type = "p5.48xlarge", cpus = 192, gpus = 8 }]
  }

  expect_failures = [data.aws_ec2_instance_type_offerings.workers]
}
