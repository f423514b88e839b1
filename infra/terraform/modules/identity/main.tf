# Some inputs come from modules that take roles from here. That is no cycle: Terraform orders resources, not modules.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name
  ec2       = "arn:${local.partition}:ec2:${local.region}:${local.account}"
  ssm       = "arn:${local.partition}:ssm:${local.region}:${local.account}"

  # Role → service that may take it. The instance profiles of head and workers carry the roles of the same name.
  services = {
    head          = "ec2.amazonaws.com"
    worker        = "ec2.amazonaws.com"
    spark         = "emr-serverless.amazonaws.com"
    state-machine = "states.amazonaws.com"
    scheduler     = "scheduler.amazonaws.com"
  }

  # Spelled out, so that a plan shows which role may be passed on.
  role_arns = { for name in keys(local.services) : name => "arn:${local.partition}:iam::${local.account}:role/${var.name}-${name}" }

  # Role → prefixes of the bucket, by what it may do there. A pattern may hold "*".
  access = {
    head = {
      read  = [for name in ["environments", "models", "graph", "source", "runs"] : var.prefixes[name]]
      write = [var.prefixes.runs, var.prefixes.published, "${var.prefixes.graph}*/embeddings/", "${var.prefixes.logs}ray/"]
    }
    worker = {
      read  = [for name in ["environments", "models", "graph", "source", "runs"] : var.prefixes[name]]
      write = [var.prefixes.runs, "${var.prefixes.logs}ray/"]
    }
    spark = {
      read  = [for name in ["environments", "source", "graph"] : var.prefixes[name]]
      write = [var.prefixes.graph, "${var.prefixes.logs}spark/"]
    }
  }
}

resource "aws_iam_role" "this" {
  for_each = local.services

  name               = "${var.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.trust[each.key].json
}

data "aws_iam_policy_document" "trust" {
  for_each = local.services

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = [each.value]
    }

    # EC2 takes a role for the instance itself and sends no source; the others act for somebody, who must be us.
    dynamic "condition" {
      for_each = each.value == "ec2.amazonaws.com" ? [] : [local.account]

      content {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [condition.value]
      }
    }
  }
}

resource "aws_iam_instance_profile" "this" {
  for_each = toset(["head", "worker"])

  name = "${var.name}-${each.key}"
  role = aws_iam_role.this[each.key].name
}

resource "aws_iam_role_policy" "data" {
  for_each = local.access

  name   = "data"
  role   = aws_iam_role.this[each.key].id
  policy = data.aws_iam_policy_document.data[each.key].json
}

data "aws_iam_policy_document" "data" {
  for_each = local.access

  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [var.bucket_arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = [for prefix in distinct(concat(each.value.read, each.value.write)) : "${prefix}*"]
    }
  }

  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = [for prefix in each.value.read : "${var.bucket_arn}/${prefix}*"]
  }

  statement {
    sid       = "Write"
    actions   = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = [for prefix in each.value.write : "${var.bucket_arn}/${prefix}*"]
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${local.region}.amazonaws.com"]
    }
  }
}

# The core of AmazonSSMManagedInstanceCore, without its ssm:GetParameter on every parameter of the account.
resource "aws_iam_role_policy" "node" {
  for_each = aws_iam_instance_profile.this

  name   = "node"
  role   = aws_iam_role.this[each.key].id
  policy = data.aws_iam_policy_document.node.json
}

data "aws_iam_policy_document" "node" {
  # The channels of the SSM agent have no resource in IAM.
  #checkov:skip=CKV_AWS_111:ssmmessages and UpdateInstanceInformation know no narrower resource than "*"
  #checkov:skip=CKV_AWS_356:ssmmessages and UpdateInstanceInformation know no narrower resource than "*"
  statement {
    sid = "SessionsAndCommands"
    actions = [
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
    ]
    resources = ["*"]
  }

  dynamic "statement" {
    for_each = length(var.secret_parameters) > 0 ? [true] : []

    content {
      sid       = "Secrets"
      actions   = ["ssm:GetParameter"]
      resources = [for name in var.secret_parameters : "${local.ssm}:parameter/${trimprefix(name, "/")}"]
    }
  }
}

resource "aws_iam_role_policy" "autoscaler" {
  name   = "autoscaler"
  role   = aws_iam_role.this["head"].id
  policy = data.aws_iam_policy_document.autoscaler.json
}

data "aws_iam_policy_document" "autoscaler" {
  #checkov:skip=CKV_AWS_356:DescribeInstances knows no narrower resource than "*"
  statement {
    sid       = "Look"
    actions   = ["ec2:DescribeInstances"]
    resources = ["*"]
  }

  # RunInstances is allowed for a call only where every resource that it touches is. What comes from the template (image,
  # security group, disks) may not be replaced by the caller; the instance has to carry the cluster's tags.
  statement {
    sid       = "FromTheTemplates"
    actions   = ["ec2:RunInstances"]
    resources = ["arn:${local.partition}:ec2:${local.region}::image/${var.image_id}", var.security_group_arn]

    condition {
      test     = "ArnEquals"
      variable = "ec2:LaunchTemplate"
      values   = var.launch_template_arns
    }

    condition {
      test     = "Bool"
      variable = "ec2:IsLaunchTemplateResource"
      values   = ["true"]
    }
  }

  statement {
    sid       = "IntoTheSubnets"
    actions   = ["ec2:RunInstances"]
    resources = concat(var.launch_template_arns, var.subnet_arns)

    condition {
      test     = "ArnEquals"
      variable = "ec2:LaunchTemplate"
      values   = var.launch_template_arns
    }
  }

  statement {
    sid       = "DisksAndInterfaces"
    actions   = ["ec2:RunInstances"]
    resources = [for kind in ["volume", "network-interface", "spot-instances-request"] : "${local.ec2}:${kind}/*"]

    condition {
      test     = "ArnEquals"
      variable = "ec2:LaunchTemplate"
      values   = var.launch_template_arns
    }
  }

  statement {
    sid       = "WorkersOfTheCluster"
    actions   = ["ec2:RunInstances"]
    resources = ["${local.ec2}:instance/*"]

    condition {
      test     = "ArnEquals"
      variable = "ec2:LaunchTemplate"
      values   = var.launch_template_arns
    }

    condition {
      test     = "StringEquals"
      variable = "ec2:InstanceType"
      values   = var.instance_types
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/ray-cluster-name"
      values   = [var.name]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/ray-node-type"
      values   = ["worker"]
    }
  }

  # Tags are set while an instance is started, never on one that exists.
  statement {
    sid     = "TagWhatStarts"
    actions = ["ec2:CreateTags"]
    resources = [
      for kind in ["instance", "volume", "network-interface", "spot-instances-request"] : "${local.ec2}:${kind}/*"
    ]

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["RunInstances"]
    }
  }

  statement {
    sid       = "EndWorkersOfTheCluster"
    actions   = ["ec2:TerminateInstances"]
    resources = ["${local.ec2}:instance/*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:ResourceTag/ray-cluster-name"
      values   = [var.name]
    }

    condition {
      test     = "StringEquals"
      variable = "ec2:ResourceTag/ray-node-type"
      values   = ["worker"]
    }
  }

  statement {
    sid       = "GiveTheWorkersRole"
    actions   = ["iam:PassRole"]
    resources = [local.role_arns["worker"]]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com"]
    }
  }

  # `job expire`, see modules/storage.
  statement {
    sid       = "TagCompletions"
    actions   = ["s3:PutObjectTagging"]
    resources = ["${var.bucket_arn}/${var.prefixes.runs}*/completions/*"]
  }
}

resource "aws_iam_role_policy" "state_machine" {
  name   = "run"
  role   = aws_iam_role.this["state-machine"].id
  policy = data.aws_iam_policy_document.state_machine.json
}

data "aws_iam_policy_document" "state_machine" {
  #checkov:skip=CKV_AWS_111:log delivery knows no narrower resource than "*"
  #checkov:skip=CKV_AWS_356:describing and log delivery know no narrower resource than "*"
  statement {
    sid       = "Look"
    actions   = ["ec2:DescribeInstances", "ssm:DescribeInstanceInformation", "ssm:GetCommandInvocation"]
    resources = ["*"]
  }

  # https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html: the execution log is set up by these.
  statement {
    sid = "LogDelivery"
    actions = [
      "logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery",
      "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "ReadSourceAndMarker"
    actions   = ["s3:GetObject"]
    resources = ["${var.bucket_arn}/${var.source_key}", "${var.bucket_arn}/${var.prefixes.graph}*.source.json"]
  }

  # Without it S3 answers 403 for a marker that is not there yet, not 404.
  statement {
    sid       = "TellMissingFromForbidden"
    actions   = ["s3:ListBucket"]
    resources = [var.bucket_arn]
  }

  statement {
    sid     = "WriteMarkerAndLatest"
    actions = ["s3:PutObject"]
    resources = [
      "${var.bucket_arn}/${var.prefixes.graph}*.source.json", "${var.bucket_arn}/${var.prefixes.published}latest.json",
    ]
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${local.region}.amazonaws.com", "sns.${local.region}.amazonaws.com"]
    }
  }

  statement {
    sid       = "Alert"
    actions   = ["sns:Publish"]
    resources = [var.topic_arn]
  }

  statement {
    sid       = "StartAndStopTheHead"
    actions   = ["ec2:StartInstances", "ec2:StopInstances"]
    resources = [var.head_instance_arn]
  }

  statement {
    sid       = "EndWorkersOfTheCluster"
    actions   = ["ec2:TerminateInstances"]
    resources = ["${local.ec2}:instance/*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:ResourceTag/ray-cluster-name"
      values   = [var.name]
    }

    condition {
      test     = "StringEquals"
      variable = "ec2:ResourceTag/ray-node-type"
      values   = ["worker"]
    }
  }

  # One document, one instance: not a shell on every node of the account.
  statement {
    sid       = "JobsOnTheHead"
    actions   = ["ssm:SendCommand"]
    resources = [var.job_document_arn, var.head_instance_arn]
  }

  statement {
    sid       = "StartSpark"
    actions   = ["emr-serverless:StartJobRun"]
    resources = [var.spark_application_arn]
  }

  statement {
    sid       = "WatchSpark"
    actions   = ["emr-serverless:GetJobRun", "emr-serverless:CancelJobRun"]
    resources = ["${var.spark_application_arn}/jobruns/*"]
  }

  statement {
    sid       = "GiveSparksRole"
    actions   = ["iam:PassRole"]
    resources = [local.role_arns["spark"]]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["emr-serverless.amazonaws.com"]
    }
  }

  # Step Functions' own rule, by which startJobRun.sync learns that a job has ended.
  statement {
    sid     = "HearSpark"
    actions = ["events:PutTargets", "events:PutRule", "events:DescribeRule"]
    resources = [
      "arn:${local.partition}:events:${local.region}:${local.account}:rule/StepFunctionsGetEventsForEMRServerlessJobRule",
    ]
  }
}

resource "aws_iam_role_policy" "scheduler" {
  name   = "start"
  role   = aws_iam_role.this["scheduler"].id
  policy = data.aws_iam_policy_document.scheduler.json
}

data "aws_iam_policy_document" "scheduler" {
  statement {
    sid       = "Start"
    actions   = ["states:StartExecution"]
    resources = [var.state_machine_arn]
  }
}
