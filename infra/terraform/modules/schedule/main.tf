data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  backoff = { IntervalSeconds = 2, BackoffRate = 2, MaxAttempts = 6, MaxDelaySeconds = 60, JitterStrategy = "FULL" }
  # All that these calls can do wrong twice is done once: ids are given by us, the rest sets a state.
  retry = [merge({ ErrorEquals = ["States.TaskFailed"] }, local.backoff)]
  # A missing marker is an answer.
  retry_marker = concat([{ ErrorEquals = ["S3.NoSuchKeyException"], MaxAttempts = 0 }], local.retry)
  # A job that failed is not tried again, a request that was not taken is.
  retry_spark = [merge({
    ErrorEquals = [
      "EMRServerless.ThrottlingException", "EMRServerless.InternalServerException",
      "EMRServerless.InternalServerErrorException", "EMRServerless.SdkClientException",
    ]
  }, local.backoff)]
  # A head that is still stopping cannot be started: that passes within minutes.
  retry_start = [merge({ ErrorEquals = ["States.TaskFailed"] }, local.backoff, { IntervalSeconds = 10, MaxAttempts = 10 })]

  online_seconds = 15
  # What the head gets to answer a command before the answer is read.
  answer_seconds = 15
  graph_uri      = "s3://${var.bucket}/${var.graph_key}"

  # Parameters of ssm:sendCommand by action.
  commands = {
    for action in ["submit", "status", "stop"] : action => {
      DocumentName   = var.job_document
      InstanceIds    = [var.head_instance_id]
      TimeoutSeconds = 600
      Parameters = {
        action           = [action]
        "submissionId.$" = "States.Array(States.Format('run-{}', $$.Execution.Name))"
        "runUri.$"       = "States.Array($.source.run_uri)"
        graphUri         = [local.graph_uri]
      }
    }
  }

  definition = templatefile("${path.module}/templates/state_machine.json.tftpl", {
    partition            = data.aws_partition.current.partition
    cluster              = var.name
    bucket               = var.bucket
    source_key           = var.source_key
    graph_key            = var.graph_key
    runs                 = var.prefixes.runs
    published            = var.prefixes.published
    logs                 = var.prefixes.logs
    run_name             = var.run_name
    spark_application_id = var.spark_application_id
    spark_role_arn       = var.spark_role_arn
    spark_job_driver     = jsonencode(var.spark_job.JobDriver)
    spark_overrides      = jsonencode(var.spark_job.ConfigurationOverrides)
    spark_limit_minutes  = var.spark_limit_minutes
    head                 = var.head_instance_id
    online_seconds       = local.online_seconds
    online_limit_minutes = var.online_limit_minutes
    online_looks         = ceil(var.online_limit_minutes * 60 / local.online_seconds)
    poll_seconds         = var.poll_seconds
    run_limit_minutes    = var.run_limit_minutes
    answer_seconds       = local.answer_seconds
    run_looks            = ceil(var.run_limit_minutes * 60 / (var.poll_seconds + local.answer_seconds))
    submit               = jsonencode(local.commands.submit)
    status               = jsonencode(local.commands.status)
    stop                 = jsonencode(local.commands.stop)
    answer = jsonencode({
      "status.$" = "$.Status"
      "output.$" = "$.StandardOutputContent"
      "error.$"  = "$.StandardErrorContent"
    })
    under_way    = jsonencode([for status in ["Pending", "InProgress", "Delayed"] : { Variable = "$.answer.status", StringEquals = status }])
    topic        = aws_sns_topic.alerts.arn
    retry        = jsonencode(local.retry)
    retry_marker = jsonencode(local.retry_marker)
    retry_spark  = jsonencode(local.retry_spark)
    retry_start  = jsonencode(local.retry_start)
  })
}

resource "aws_sfn_state_machine" "this" {
  #checkov:skip=CKV_AWS_285:what states pass on stays in the execution's history; the log says which of them ran
  #checkov:skip=CKV_AWS_284:the execution's history says the same as a trace by X-Ray would
  name       = var.name
  role_arn   = var.state_machine_role_arn
  definition = local.definition

  logging_configuration {
    level                  = "ALL"
    include_execution_data = false
    log_destination        = "${aws_cloudwatch_log_group.state_machine.arn}:*"
  }
}

resource "aws_cloudwatch_log_group" "state_machine" {
  #checkov:skip=CKV_AWS_338:log_days says how long
  name              = "/aws/vendedlogs/states/${var.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.key_arn
}

resource "aws_scheduler_schedule" "this" {
  #checkov:skip=CKV_AWS_297:it holds no data but the state machine's ARN
  name                         = var.name
  description                  = "Scheduled generation run of ${var.name}"
  state                        = var.enabled ? "ENABLED" : "DISABLED"
  schedule_expression          = var.expression
  schedule_expression_timezone = var.timezone

  flexible_time_window {
    mode                      = var.window_minutes > 0 ? "FLEXIBLE" : "OFF"
    maximum_window_in_minutes = var.window_minutes > 0 ? var.window_minutes : null
  }

  target {
    arn      = aws_sfn_state_machine.this.arn
    role_arn = var.scheduler_role_arn
    input    = "{}"
  }
}

resource "aws_sns_topic" "alerts" {
  name              = "${var.name}-alerts"
  kms_master_key_id = var.key_arn
}

resource "aws_sns_topic_policy" "alerts" {
  arn    = aws_sns_topic.alerts.arn
  policy = data.aws_iam_policy_document.alerts.json
}

data "aws_iam_policy_document" "alerts" {
  statement {
    sid       = "AlarmAndBudget"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alerts.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_sns_topic_subscription" "email" {
  for_each = toset(var.alert_emails)

  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = each.value
}

# The state machine alerts by itself. This hears of executions that could not, or were aborted before they cleaned up.
resource "aws_cloudwatch_metric_alarm" "failed" {
  alarm_name          = "${var.name}-failed-executions"
  alarm_description   = "An execution of ${var.name} failed, timed out or was aborted: look whether head and workers are stopped"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]

  metric_query {
    id          = "all"
    expression  = "failed + timed_out + aborted"
    label       = "executions that did not succeed"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { failed = "ExecutionsFailed", timed_out = "ExecutionsTimedOut", aborted = "ExecutionsAborted" }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/States"
        metric_name = metric_query.value
        period      = 300
        stat        = "Sum"
        dimensions  = { StateMachineArn = aws_sfn_state_machine.this.arn }
      }
    }
  }
}

# Counts what carries the tag, from the day on which the tag was made a cost allocation tag (README.md).
resource "aws_budgets_budget" "this" {
  name         = var.name
  budget_type  = "COST"
  limit_amount = tostring(var.budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:cluster$%s", var.name)]
  }

  dynamic "notification" {
    for_each = [80, 100]

    content {
      comparison_operator       = "GREATER_THAN"
      notification_type         = "ACTUAL"
      threshold                 = notification.value
      threshold_type            = "PERCENTAGE"
      subscriber_sns_topic_arns = [aws_sns_topic.alerts.arn]
    }
  }

  depends_on = [aws_sns_topic_policy.alerts]
}
